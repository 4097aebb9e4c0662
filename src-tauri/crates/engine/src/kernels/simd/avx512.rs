//! Lanes in one 512-bit register.
use super::{LANES, Simd};
use std::arch::x86_64::*;

/// AVX-512 F, BW, DQ, VL and VNNI.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The CPU has AVX-512 F, BW, DQ, VL and VNNI.
    #[inline(always)]
    pub(in crate::kernels) unsafe fn new() -> Self {
        Avx512(())
    }
}

macro_rules! single {
    ($($name:ident($($arg:ident),+) = $op:ident;)+) => { $(
        #[inline(always)]
        fn $name(self, $($arg: __m512),+) -> __m512 {
            // SAFETY: `self` proves AVX-512.
            unsafe { $op($($arg),+) }
        }
    )+ };
}

impl Simd for Avx512 {
    type V = __m512;
    #[inline(always)]
    fn splat(self, value: f32) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_ps(value) }
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> __m512 {
        // SAFETY: `self` proves AVX-512; the array is one vector long.
        unsafe { _mm512_loadu_ps(from.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, v: __m512, to: &mut [f32; LANES]) {
        // SAFETY: `self` proves AVX-512; the array is one vector long.
        unsafe { _mm512_storeu_ps(to.as_mut_ptr(), v) }
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> __m512 {
        // SAFETY: `self` proves AVX-512; the array is 32 bytes.
        unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from.as_ptr().cast())) }
    }
    #[inline(always)]
    fn load_bf16(self, from: &[u16; LANES]) -> __m512 {
        // SAFETY: `self` proves AVX-512; the array is 32 bytes.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.as_ptr().cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    single! {
        add(a, b) = _mm512_add_ps;
        sub(a, b) = _mm512_sub_ps;
        mul(a, b) = _mm512_mul_ps;
        div(a, b) = _mm512_div_ps;
        min(a, b) = _mm512_min_ps;
        max(a, b) = _mm512_max_ps;
        fma(a, b, c) = _mm512_fmadd_ps;
    }
    #[inline(always)]
    fn round(self, v: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_roundscale_ps::<0>(v) }
    }
    #[inline(always)]
    fn exp2_int(self, n: __m512) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe {
            let bits =
                _mm512_slli_epi32::<23>(_mm512_add_epi32(_mm512_cvtps_epi32(n), _mm512_set1_epi32(127)));
            _mm512_castsi512_ps(bits)
        }
    }

    type Bytes = __m512i;
    type Nibbles = __m512i;
    type Sums = __m512i;
    const WIDE: bool = true;
    const TALL: bool = false;
    #[inline(always)]
    fn load_bytes(self, from: &[u8; 64]) -> __m512i {
        // SAFETY: `self` proves AVX-512; the array is one vector long.
        unsafe { _mm512_loadu_si512(from.as_ptr().cast()) }
    }
    #[inline(always)]
    fn low(self, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_and_si512(b, _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    fn high(self, b: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_and_si512(_mm512_srli_epi16::<4>(b), _mm512_set1_epi8(15)) }
    }
    #[inline(always)]
    fn with_top<const QUAD: usize>(self, low: __m512i, tops: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512. The truth table 0xf8 is `low | (moved & mask)`.
        unsafe {
            let moved = match QUAD {
                0 => _mm512_slli_epi16::<4>(tops),
                1 => _mm512_slli_epi16::<2>(tops),
                2 => tops,
                _ => _mm512_srli_epi16::<2>(tops),
            };
            _mm512_ternarylogic_epi32::<0xf8>(low, moved, _mm512_set1_epi8(0x30))
        }
    }
    #[inline(always)]
    fn with_bit<const QUAD: usize>(self, low: __m512i, tops: __m512i) -> __m512i {
        // SAFETY: `self` proves AVX-512. As in `with_top`.
        unsafe {
            let moved = match QUAD {
                0 => _mm512_slli_epi16::<4>(tops),
                1 => _mm512_slli_epi16::<3>(tops),
                2 => _mm512_slli_epi16::<2>(tops),
                3 => _mm512_slli_epi16::<1>(tops),
                4 => tops,
                5 => _mm512_srli_epi16::<1>(tops),
                6 => _mm512_srli_epi16::<2>(tops),
                _ => _mm512_srli_epi16::<3>(tops),
            };
            _mm512_ternarylogic_epi32::<0xf8>(low, moved, _mm512_set1_epi8(0x10))
        }
    }
    #[inline(always)]
    fn store_bytes(self, b: __m512i, to: &mut [u8; 64]) {
        // SAFETY: `self` proves AVX-512; the array is one vector long.
        unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), b) }
    }
    #[inline(always)]
    fn nibbles_start(self, offset: i32) -> __m512i {
        self.sums_start(offset)
    }
    #[inline(always)]
    fn nibbles_dot(self, acc: __m512i, w: __m512i, x: i32) -> __m512i {
        // SAFETY: `self` proves AVX-512 VNNI.
        unsafe { _mm512_dpbusd_epi32(acc, w, _mm512_set1_epi32(x)) }
    }
    #[inline(always)]
    fn nibbles_end(self, acc: __m512i, _offset: i32) -> __m512 {
        self.sums_end(acc)
    }
    #[inline(always)]
    fn sums_start(self, offset: i32) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_set1_epi32(offset) }
    }
    #[inline(always)]
    fn sums_dot<const N: usize>(self, acc: __m512i, w: [__m512i; N], x: [i32; N]) -> __m512i {
        let mut acc = acc;
        for i in 0..N {
            acc = self.nibbles_dot(acc, w[i], x[i]);
        }
        acc
    }
    #[inline(always)]
    fn sums_start8(self, offset: i32) -> __m512i {
        // The weights are taken as w + 128 (see `sums_dot8`): start at -128·Σx.
        self.sums_start(offset * 16)
    }
    #[inline(always)]
    fn sums_dot8(self, acc: __m512i, w: __m512i, x: i32) -> __m512i {
        // SAFETY: `self` proves AVX-512.
        let unsigned = unsafe { _mm512_xor_si512(w, _mm512_set1_epi8(-128)) };
        self.nibbles_dot(acc, unsigned, x)
    }
    #[inline(always)]
    fn sums_end(self, acc: __m512i) -> __m512 {
        // SAFETY: `self` proves AVX-512.
        unsafe { _mm512_cvtepi32_ps(acc) }
    }
    #[inline(always)]
    fn load_i8(self, from: &[u8; LANES]) -> __m512 {
        // SAFETY: `self` proves AVX-512; the array is 16 bytes.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(from.as_ptr().cast()))) }
    }
    #[inline(always)]
    fn to_i8(self, v: __m512) -> [i8; LANES] {
        let mut out = [0; LANES];
        // SAFETY: `self` proves AVX-512; the array is 16 bytes.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(v))) };
        out
    }
    #[inline(always)]
    fn prefetch(self, from: &[u8; 64], ahead: usize) {
        // SAFETY: a prefetch may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(ahead).cast()) }
    }
}
