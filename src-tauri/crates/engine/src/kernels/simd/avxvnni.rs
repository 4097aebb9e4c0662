//! AVX2 lanes whose integer products are VNNI's, in its 256-bit encoding: desktop CPUs without AVX-512.
use super::avx2::{Avx2, Pair};
use super::{LANES, Simd};
use std::arch::x86_64::*;

/// AVX-VNNI, AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct AvxVnni(Avx2);

impl AvxVnni {
    /// # Safety
    /// The CPU has AVX-VNNI, AVX2, FMA and F16C.
    #[inline(always)]
    pub(in crate::kernels) unsafe fn new() -> Self {
        // SAFETY: promised by the caller.
        AvxVnni(unsafe { Avx2::new() })
    }
}

type Ints = (__m256i, __m256i);

macro_rules! as_avx2 {
    ($($name:ident($($arg:ident: $ty:ty),*) -> $out:ty;)+) => { $(
        #[inline(always)]
        fn $name(self, $($arg: $ty),*) -> $out {
            self.0.$name($($arg),*)
        }
    )+ };
}

impl Simd for AvxVnni {
    type V = Pair;
    type Bytes = Ints;
    type Nibbles = Ints;
    type Sums = Ints;
    const WIDE: bool = false;
    const TALL: bool = false;
    as_avx2! {
        splat(value: f32) -> Pair;
        load(from: &[f32; LANES]) -> Pair;
        store(v: Pair, to: &mut [f32; LANES]) -> ();
        load_f16(from: &[u16; LANES]) -> Pair;
        load_bf16(from: &[u16; LANES]) -> Pair;
        add(a: Pair, b: Pair) -> Pair;
        sub(a: Pair, b: Pair) -> Pair;
        mul(a: Pair, b: Pair) -> Pair;
        div(a: Pair, b: Pair) -> Pair;
        min(a: Pair, b: Pair) -> Pair;
        max(a: Pair, b: Pair) -> Pair;
        fma(a: Pair, b: Pair, c: Pair) -> Pair;
        round(v: Pair) -> Pair;
        exp2_int(n: Pair) -> Pair;
        load_bytes(from: &[u8; 64]) -> Ints;
        store_bytes(b: Ints, to: &mut [u8; 64]) -> ();
        low(b: Ints) -> Ints;
        high(b: Ints) -> Ints;
        sums_start(offset: i32) -> Ints;
        sums_end(acc: Ints) -> Pair;
        load_i8(from: &[u8; LANES]) -> Pair;
        to_i8(v: Pair) -> [i8; LANES];
        prefetch(from: &[u8; 64], ahead: usize) -> ();
    }
    #[inline(always)]
    fn with_top<const QUAD: usize>(self, low: Ints, tops: Ints) -> Ints {
        self.0.with_top::<QUAD>(low, tops)
    }
    #[inline(always)]
    fn with_bit<const QUAD: usize>(self, low: Ints, tops: Ints) -> Ints {
        self.0.with_bit::<QUAD>(low, tops)
    }
    #[inline(always)]
    fn nibbles_start(self, offset: i32) -> Ints {
        self.sums_start(offset)
    }
    #[inline(always)]
    fn nibbles_dot(self, acc: Ints, w: Ints, x: i32) -> Ints {
        // SAFETY: `self` proves AVX-VNNI.
        unsafe {
            let x = _mm256_set1_epi32(x);
            (_mm256_dpbusd_avx_epi32(acc.0, w.0, x), _mm256_dpbusd_avx_epi32(acc.1, w.1, x))
        }
    }
    #[inline(always)]
    fn nibbles_end(self, acc: Ints, _offset: i32) -> Pair {
        self.sums_end(acc)
    }
    #[inline(always)]
    fn sums_dot<const N: usize>(self, acc: Ints, w: [Ints; N], x: [i32; N]) -> Ints {
        let mut acc = acc;
        for i in 0..N {
            acc = self.nibbles_dot(acc, w[i], x[i]);
        }
        acc
    }
    #[inline(always)]
    fn sums_start8(self, offset: i32) -> Ints {
        // The weights are taken as w + 128 (see `sums_dot8`): start at -128·Σx.
        self.sums_start(offset * 16)
    }
    #[inline(always)]
    fn sums_dot8(self, acc: Ints, w: Ints, x: i32) -> Ints {
        // SAFETY: `self` proves AVX2.
        let unsigned = unsafe {
            let top = _mm256_set1_epi8(-128);
            (_mm256_xor_si256(w.0, top), _mm256_xor_si256(w.1, top))
        };
        self.nibbles_dot(acc, unsigned, x)
    }
}
