//! Lanes in two 256-bit registers.
use super::{LANES, Simd};
use std::arch::x86_64::*;

/// AVX2, FMA and F16C.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The CPU has AVX2, FMA and F16C.
    #[inline(always)]
    pub(in crate::kernels) unsafe fn new() -> Self {
        Avx2(())
    }
}

pub(super) type Pair = (__m256, __m256);

macro_rules! pairwise {
    ($($name:ident($($arg:ident),+) = $op:ident;)+) => { $(
        #[inline(always)]
        fn $name(self, $($arg: Pair),+) -> Pair {
            // SAFETY: `self` proves AVX2 and FMA.
            unsafe { ($op($($arg.0),+), $op($($arg.1),+)) }
        }
    )+ };
}

// One half of a step each; the features make them inline where the intrinsics do.

#[inline]
#[target_feature(enable = "avx2")]
fn half_bf16(h: __m128i) -> __m256 {
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(h)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn half_exp2(n: __m256) -> __m256 {
    let biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
}

#[inline]
#[target_feature(enable = "avx2")]
fn half_join<const QUAD: usize>(low: __m256i, tops: __m256i) -> __m256i {
    let moved = match QUAD {
        0 => _mm256_slli_epi16::<4>(tops),
        1 => _mm256_slli_epi16::<2>(tops),
        2 => tops,
        _ => _mm256_srli_epi16::<2>(tops),
    };
    _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(0x30)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn half_bit<const QUAD: usize>(low: __m256i, tops: __m256i) -> __m256i {
    let moved = match QUAD {
        0 => _mm256_slli_epi16::<4>(tops),
        1 => _mm256_slli_epi16::<3>(tops),
        2 => _mm256_slli_epi16::<2>(tops),
        3 => _mm256_slli_epi16::<1>(tops),
        4 => tops,
        5 => _mm256_srli_epi16::<1>(tops),
        6 => _mm256_srli_epi16::<2>(tops),
        _ => _mm256_srli_epi16::<3>(tops),
    };
    _mm256_or_si256(low, _mm256_and_si256(moved, _mm256_set1_epi8(0x10)))
}

/// `acc` plus the sums of neighbouring i16.
#[inline]
#[target_feature(enable = "avx2")]
fn half_sum(acc: __m256i, pairs: __m256i) -> __m256i {
    _mm256_add_epi32(acc, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// Products of signed w and x, neighbours added: |w|·(x with w's sign), as `maddubs` wants its left side unsigned.
#[inline]
#[target_feature(enable = "avx2")]
fn half_signed(w: __m256i, x: __m256i) -> __m256i {
    _mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w))
}

impl Simd for Avx2 {
    type V = Pair;
    #[inline(always)]
    fn splat(self, value: f32) -> Pair {
        // SAFETY: `self` proves AVX2.
        unsafe { (_mm256_set1_ps(value), _mm256_set1_ps(value)) }
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Pair {
        // SAFETY: `self` proves AVX2; both halves lie inside the array.
        unsafe { (_mm256_loadu_ps(from.as_ptr()), _mm256_loadu_ps(from.as_ptr().add(8))) }
    }
    #[inline(always)]
    fn store(self, v: Pair, to: &mut [f32; LANES]) {
        // SAFETY: `self` proves AVX2; both halves lie inside the array.
        unsafe {
            _mm256_storeu_ps(to.as_mut_ptr(), v.0);
            _mm256_storeu_ps(to.as_mut_ptr().add(8), v.1);
        }
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> Pair {
        let p = from.as_ptr().cast::<__m128i>();
        // SAFETY: `self` proves F16C; two 16-byte halves of a 32-byte array.
        unsafe { (_mm256_cvtph_ps(_mm_loadu_si128(p)), _mm256_cvtph_ps(_mm_loadu_si128(p.add(1)))) }
    }
    #[inline(always)]
    fn load_bf16(self, from: &[u16; LANES]) -> Pair {
        let p = from.as_ptr().cast::<__m128i>();
        // SAFETY: `self` proves AVX2; two 16-byte halves of a 32-byte array.
        unsafe { (half_bf16(_mm_loadu_si128(p)), half_bf16(_mm_loadu_si128(p.add(1)))) }
    }
    pairwise! {
        add(a, b) = _mm256_add_ps;
        sub(a, b) = _mm256_sub_ps;
        mul(a, b) = _mm256_mul_ps;
        div(a, b) = _mm256_div_ps;
        min(a, b) = _mm256_min_ps;
        max(a, b) = _mm256_max_ps;
        fma(a, b, c) = _mm256_fmadd_ps;
    }
    #[inline(always)]
    fn round(self, v: Pair) -> Pair {
        const NEAREST: i32 = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
        // SAFETY: `self` proves AVX2.
        unsafe { (_mm256_round_ps::<NEAREST>(v.0), _mm256_round_ps::<NEAREST>(v.1)) }
    }
    #[inline(always)]
    fn exp2_int(self, n: Pair) -> Pair {
        // SAFETY: `self` proves AVX2.
        unsafe { (half_exp2(n.0), half_exp2(n.1)) }
    }

    type Bytes = (__m256i, __m256i);
    /// Sixteen pairs of i16: 8 steps of two products, at most 8·2·15·127 = 30,480.
    type Nibbles = (__m256i, __m256i);
    type Sums = (__m256i, __m256i);
    const WIDE: bool = false;
    const TALL: bool = true;
    #[inline(always)]
    fn load_bytes(self, from: &[u8; 64]) -> Self::Bytes {
        let p = from.as_ptr().cast::<__m256i>();
        // SAFETY: `self` proves AVX2; two 32-byte halves of the array.
        unsafe { (_mm256_loadu_si256(p), _mm256_loadu_si256(p.add(1))) }
    }
    #[inline(always)]
    fn low(self, b: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let mask = _mm256_set1_epi8(15);
            (_mm256_and_si256(b.0, mask), _mm256_and_si256(b.1, mask))
        }
    }
    #[inline(always)]
    fn high(self, b: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves AVX2.
        unsafe { self.low((_mm256_srli_epi16::<4>(b.0), _mm256_srli_epi16::<4>(b.1))) }
    }
    #[inline(always)]
    fn with_top<const QUAD: usize>(self, low: Self::Bytes, tops: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves AVX2.
        unsafe { (half_join::<QUAD>(low.0, tops.0), half_join::<QUAD>(low.1, tops.1)) }
    }
    #[inline(always)]
    fn with_bit<const QUAD: usize>(self, low: Self::Bytes, tops: Self::Bytes) -> Self::Bytes {
        // SAFETY: `self` proves AVX2.
        unsafe { (half_bit::<QUAD>(low.0, tops.0), half_bit::<QUAD>(low.1, tops.1)) }
    }
    #[inline(always)]
    fn store_bytes(self, b: Self::Bytes, to: &mut [u8; 64]) {
        let p = to.as_mut_ptr().cast::<__m256i>();
        // SAFETY: `self` proves AVX2; two 32-byte halves of the array.
        unsafe {
            _mm256_storeu_si256(p, b.0);
            _mm256_storeu_si256(p.add(1), b.1);
        }
    }
    #[inline(always)]
    fn nibbles_start(self, _offset: i32) -> Self::Nibbles {
        // SAFETY: `self` proves AVX2.
        unsafe { (_mm256_setzero_si256(), _mm256_setzero_si256()) }
    }
    #[inline(always)]
    fn nibbles_dot(self, acc: Self::Nibbles, w: Self::Bytes, x: i32) -> Self::Nibbles {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let x = _mm256_set1_epi32(x);
            let pairs = (_mm256_maddubs_epi16(w.0, x), _mm256_maddubs_epi16(w.1, x));
            (_mm256_add_epi16(acc.0, pairs.0), _mm256_add_epi16(acc.1, pairs.1))
        }
    }
    #[inline(always)]
    fn nibbles_end(self, acc: Self::Nibbles, offset: i32) -> Pair {
        // SAFETY: `self` proves AVX2.
        unsafe {
            let offset = _mm256_set1_epi32(offset);
            (_mm256_cvtepi32_ps(half_sum(offset, acc.0)), _mm256_cvtepi32_ps(half_sum(offset, acc.1)))
        }
    }
    #[inline(always)]
    fn sums_start(self, offset: i32) -> Self::Sums {
        // SAFETY: `self` proves AVX2.
        unsafe { (_mm256_set1_epi32(offset), _mm256_set1_epi32(offset)) }
    }
    #[inline(always)]
    fn sums_dot<const N: usize>(self, acc: Self::Sums, w: [Self::Bytes; N], x: [i32; N]) -> Self::Sums {
        let mut pairs = self.nibbles_start(0);
        for i in 0..N {
            pairs = self.nibbles_dot(pairs, w[i], x[i]);
        }
        // SAFETY: `self` proves AVX2.
        unsafe { (half_sum(acc.0, pairs.0), half_sum(acc.1, pairs.1)) }
    }
    #[inline(always)]
    fn sums_start8(self, _offset: i32) -> Self::Sums {
        self.sums_start(0)
    }
    #[inline(always)]
    fn sums_dot8(self, acc: Self::Sums, w: Self::Bytes, x: i32) -> Self::Sums {
        // SAFETY: `self` proves AVX2. |w| <= 128 and |x| <= 127: two products fit 16 bits (32,512).
        unsafe {
            let x = _mm256_set1_epi32(x);
            let pairs = (half_signed(w.0, x), half_signed(w.1, x));
            (half_sum(acc.0, pairs.0), half_sum(acc.1, pairs.1))
        }
    }
    #[inline(always)]
    fn sums_end(self, acc: Self::Sums) -> Pair {
        // SAFETY: `self` proves AVX2.
        unsafe { (_mm256_cvtepi32_ps(acc.0), _mm256_cvtepi32_ps(acc.1)) }
    }
    #[inline(always)]
    fn load_i8(self, from: &[u8; LANES]) -> Pair {
        // SAFETY: `self` proves AVX2; the array is 16 bytes.
        unsafe {
            let b = _mm_loadu_si128(from.as_ptr().cast());
            let high = _mm_srli_si128::<8>(b);
            (_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(b)), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(high)))
        }
    }
    #[inline(always)]
    fn to_i8(self, v: Pair) -> [i8; LANES] {
        // SAFETY: `self` proves AVX2; the array is 16 bytes. Packing works within 128-bit halves, hence the permutation.
        unsafe {
            let words = _mm256_packs_epi32(_mm256_cvtps_epi32(v.0), _mm256_cvtps_epi32(v.1));
            let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
            let bytes = _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
            let mut out = [0; LANES];
            _mm_storeu_si128(out.as_mut_ptr().cast(), bytes);
            out
        }
    }
    #[inline(always)]
    fn prefetch(self, from: &[u8; 64], ahead: usize) {
        // SAFETY: a prefetch may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(ahead).cast()) }
    }
}
