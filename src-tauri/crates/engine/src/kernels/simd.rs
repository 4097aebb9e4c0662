//! Sixteen f32 lanes, three ways. Kernels that are not integer products are written once over [`Simd`].
//!
//! A value of a `Simd` type is a token: it can only be made (unsafely, by [`dispatch`]) where the CPU has the instructions,
//! so holding one is the proof that its intrinsics may run. The generic kernels are `#[inline(always)]` and end up inside
//! one `#[target_feature]` function per tier.

/// Lanes of a vector, and the row count of a weight panel.
pub(super) const LANES: usize = 16;

pub(super) trait Simd: Copy + Send + Sync {
    /// Sixteen f32 lanes.
    type V: Copy;
    fn splat(self, value: f32) -> Self::V;
    fn load(self, from: &[f32; LANES]) -> Self::V;
    fn store(self, v: Self::V, to: &mut [f32; LANES]);
    fn load_f16(self, from: &[u16; LANES]) -> Self::V;
    fn load_bf16(self, from: &[u16; LANES]) -> Self::V;
    /// Rounds to nearest even.
    fn store_f16(self, v: Self::V, to: &mut [u16; LANES]);
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    fn div(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a < b ? a : b` (a NaN in either gives `b`).
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a > b ? a : b` (a NaN in either gives `b`).
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, in one rounding where the tier has FMA.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Nearest integer, ties to even, for |v| < 2^22.
    fn round(self, v: Self::V) -> Self::V;
    /// `2^n` for integer-valued `n` in [-126, 127].
    fn exp2_int(self, n: Self::V) -> Self::V;

    #[inline(always)]
    fn to_array(self, v: Self::V) -> [f32; LANES] {
        let mut lanes = [0.0; LANES];
        self.store(v, &mut lanes);
        lanes
    }

    /// The first `from.len()` (< 16) lanes; the others are 0.
    #[inline(always)]
    fn load_head(self, from: &[f32]) -> Self::V {
        let mut lanes = [0.0; LANES];
        lanes[..from.len()].copy_from_slice(from);
        self.load(&lanes)
    }

    #[inline(always)]
    fn store_head(self, v: Self::V, to: &mut [f32]) {
        let len = to.len();
        to.copy_from_slice(&self.to_array(v)[..len]);
    }

    /// Sum of the lanes, always as the same tree.
    #[inline(always)]
    fn sum(self, v: Self::V) -> f32 {
        fold(self.to_array(v), |a, b| a + b)
    }

    #[inline(always)]
    fn max_lane(self, v: Self::V) -> f32 {
        fold(self.to_array(v), f32::max)
    }

    /// e^x to about 1 ulp for x in [-87.3, 88]; smaller x give e^-87.3 (1.2e-38), larger ones e^88; NaN stays NaN.
    ///
    /// x = n·ln 2 + r with |r| <= ln 2 / 2 (ln 2 in two parts), e^r by the degree-6 polynomial of Cephes' `expf`.
    #[inline(always)]
    fn exp(self, x: Self::V) -> Self::V {
        let c = |value| self.splat(value);
        let x = self.max(c(-87.3), self.min(c(88.0), x));
        let n = self.round(self.mul(x, c(std::f32::consts::LOG2_E)));
        let r = self.fma(n, c(-0.693_359_375), x);
        let r = self.fma(n, c(2.121_944_4e-4), r);
        let mut p = c(1.987_569_15e-4);
        for k in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 5.000_000_1e-1] {
            p = self.fma(p, r, c(k));
        }
        let p = self.add(self.fma(p, self.mul(r, r), r), c(1.0));
        self.mul(p, self.exp2_int(n))
    }

    /// x · sigmoid(x).
    #[inline(always)]
    fn silu(self, x: Self::V) -> Self::V {
        let e = self.exp(self.sub(self.splat(0.0), x));
        self.div(x, self.add(self.splat(1.0), e))
    }
}

#[inline(always)]
fn fold(lanes: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut v = lanes;
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            v[i] = f(v[i], v[i + half]);
        }
    }
    v[0]
}

/// Plain Rust lanes.
#[derive(Clone, Copy)]
pub(super) struct Plain;

#[inline(always)]
fn map1(a: [f32; LANES], f: impl Fn(f32) -> f32) -> [f32; LANES] {
    let mut out = a;
    out.iter_mut().for_each(|v| *v = f(*v));
    out
}

#[inline(always)]
fn map2(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut out = a;
    out.iter_mut().zip(b).for_each(|(v, b)| *v = f(*v, b));
    out
}

impl Simd for Plain {
    type V = [f32; LANES];
    #[inline(always)]
    fn splat(self, value: f32) -> Self::V {
        [value; LANES]
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::V {
        *from
    }
    #[inline(always)]
    fn store(self, v: Self::V, to: &mut [f32; LANES]) {
        *to = v;
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> Self::V {
        from.map(f16_to_f32)
    }
    #[inline(always)]
    fn load_bf16(self, from: &[u16; LANES]) -> Self::V {
        from.map(bf16_to_f32)
    }
    #[inline(always)]
    fn store_f16(self, v: Self::V, to: &mut [u16; LANES]) {
        *to = v.map(|x| half::f16::from_f32_const(x).to_bits());
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn div(self, a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| a / b)
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        map2(a, b, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        map2(map2(a, b, |a, b| a * b), c, |ab, c| ab + c)
    }
    #[inline(always)]
    fn round(self, v: Self::V) -> Self::V {
        // Adding 1.5·2^23 leaves no bits for a fraction: the addition itself rounds to nearest even.
        const MAGIC: f32 = 12_582_912.0;
        map1(v, |x| (x + MAGIC) - MAGIC)
    }
    #[inline(always)]
    fn exp2_int(self, n: Self::V) -> Self::V {
        // SAFETY-free form of the exponent trick: (n + 127) << 23 are the bits of 2^n. `as` saturates, NaN becomes 0.
        map1(n, |n| f32::from_bits(((n as i32 + 127) << 23) as u32))
    }
}

#[inline(always)]
pub(super) fn f16_to_f32(bits: u16) -> f32 {
    half::f16::from_bits(bits).to_f32_const()
}

#[inline(always)]
pub(super) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{LANES, Simd};
    use std::arch::x86_64::*;

    /// Two 256-bit registers.
    #[derive(Clone, Copy)]
    pub(in crate::kernels) struct Avx2(());
    /// One 512-bit register.
    #[derive(Clone, Copy)]
    pub(in crate::kernels) struct Avx512(());

    impl Avx2 {
        /// # Safety
        /// The CPU has AVX2, FMA and F16C.
        #[inline(always)]
        pub(in crate::kernels) unsafe fn new() -> Self {
            Avx2(())
        }
    }
    impl Avx512 {
        /// # Safety
        /// The CPU has AVX-512 F, BW, DQ, VL and VNNI.
        #[inline(always)]
        pub(in crate::kernels) unsafe fn new() -> Self {
            Avx512(())
        }
    }

    type Pair = (__m256, __m256);

    macro_rules! pairwise {
        ($($name:ident($($arg:ident),+) = $op:ident;)+) => { $(
            #[inline(always)]
            fn $name(self, $($arg: Pair),+) -> Pair {
                // SAFETY: `self` proves AVX2 and FMA.
                unsafe { ($op($($arg.0),+), $op($($arg.1),+)) }
            }
        )+ };
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
            unsafe {
                let widen = |h| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(h)));
                (widen(_mm_loadu_si128(p)), widen(_mm_loadu_si128(p.add(1))))
            }
        }
        #[inline(always)]
        fn store_f16(self, v: Pair, to: &mut [u16; LANES]) {
            let p = to.as_mut_ptr().cast::<__m128i>();
            // SAFETY: `self` proves F16C; two 16-byte halves of a 32-byte array.
            unsafe {
                _mm_storeu_si128(p, _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v.0));
                _mm_storeu_si128(p.add(1), _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v.1));
            }
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
            unsafe {
                let bits = |n| {
                    _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)))
                };
                (_mm256_castsi256_ps(bits(n.0)), _mm256_castsi256_ps(bits(n.1)))
            }
        }
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
        #[inline(always)]
        fn store_f16(self, v: __m512, to: &mut [u16; LANES]) {
            // SAFETY: `self` proves AVX-512; the array is 32 bytes.
            unsafe {
                _mm256_storeu_si256(to.as_mut_ptr().cast(), _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v));
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
    }
}
#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

/// A kernel body that [`dispatch`] instantiates for a tier.
pub(super) trait Kernel {
    type Output;
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// Runs `kernel` with the tier's lanes. The tier is one that `CpuTier::is_supported` said yes to, or it is lowered to one.
#[inline]
pub(super) fn dispatch<K: Kernel>(tier: super::CpuTier, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        use super::CpuTier;
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2<K: Kernel>(kernel: K) -> K::Output {
            // SAFETY: this function runs with these features.
            kernel.run(unsafe { Avx2::new() })
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn avx512<K: Kernel>(kernel: K) -> K::Output {
            // SAFETY: this function runs with these features.
            kernel.run(unsafe { Avx512::new() })
        }
        match tier {
            // SAFETY: `is_supported` has just asked the CPU (the answers are cached by std).
            CpuTier::Avx512Vnni if tier.is_supported() => return unsafe { avx512(kernel) },
            // SAFETY: as above.
            CpuTier::Avx2 if tier.is_supported() => return unsafe { avx2(kernel) },
            _ => {}
        }
    }
    let _ = tier;
    kernel.run(Plain)
}
