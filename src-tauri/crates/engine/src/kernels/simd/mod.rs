//! Sixteen f32 lanes, in several ways. Kernels that are not integer products are written once over [`Simd`].
//!
//! A value of a `Simd` type is a token: it can only be made (unsafely, by [`dispatch`]) where the CPU has the instructions,
//! so holding one is the proof that its intrinsics may run. The generic kernels are `#[inline(always)]` and end up inside
//! one `#[target_feature]` function per tier. They use no closures over vectors: a closure that is called twice may stay a
//! function of its own, without the features, in which every intrinsic is a call (measured: silu 35 times slower).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avxvnni;
#[cfg(target_arch = "aarch64")]
mod neon;
mod plain;

pub(in crate::kernels) use plain::Plain;

/// Lanes of a vector, and the row count of a weight panel.
pub(in crate::kernels) const LANES: usize = 16;

pub(in crate::kernels) trait Simd: Copy + Send + Sync {
    /// Sixteen f32 lanes.
    type V: Copy;
    fn splat(self, value: f32) -> Self::V;
    fn load(self, from: &[f32; LANES]) -> Self::V;
    fn store(self, v: Self::V, to: &mut [f32; LANES]);
    fn load_f16(self, from: &[u16; LANES]) -> Self::V;
    fn load_bf16(self, from: &[u16; LANES]) -> Self::V;
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

    // Integer products. `Bytes` are 64 bytes: for each of 16 rows, 4 consecutive k. `x` are 4 int8 activations of one row.

    type Bytes: Copy;
    /// Running dot products of nibbles: 16-bit on some tiers, room for 8 steps of weights below 16.
    type Nibbles: Copy;
    /// Sixteen i32.
    type Sums: Copy;
    /// Whether there are 32 registers of sixteen lanes, or 16 of eight.
    const WIDE: bool;
    /// Whether a tile of eight rows can be worth its spills: quants take many instructions a step, which the rows share.
    const TALL: bool;

    fn load_bytes(self, from: &[u8; 64]) -> Self::Bytes;
    /// The low four bits of every byte.
    fn low(self, b: Self::Bytes) -> Self::Bytes;
    /// The high four bits of every byte, moved down.
    fn high(self, b: Self::Bytes) -> Self::Bytes;
    /// `low | top << 4`, where top is bits 2·QUAD and 2·QUAD + 1 of every byte of `tops`, and low < 16.
    fn with_top<const QUAD: usize>(self, low: Self::Bytes, tops: Self::Bytes) -> Self::Bytes;
    /// `low | bit << 4`, where bit is bit QUAD of every byte of `tops`, and low < 16.
    fn with_bit<const QUAD: usize>(self, low: Self::Bytes, tops: Self::Bytes) -> Self::Bytes;
    fn store_bytes(self, b: Self::Bytes, to: &mut [u8; 64]);

    fn nibbles_start(self, offset: i32) -> Self::Nibbles;
    fn nibbles_dot(self, acc: Self::Nibbles, w: Self::Bytes, x: i32) -> Self::Nibbles;
    /// What [`nibbles_start`](Self::nibbles_start) was given plus the dot products, as f32. `offset` is the same again.
    fn nibbles_end(self, acc: Self::Nibbles, offset: i32) -> Self::V;

    fn sums_start(self, offset: i32) -> Self::Sums;
    /// Adds N steps of unsigned weights so small that N·2·127 times the largest fits 16 bits: two of six bits, four of five.
    fn sums_dot<const N: usize>(self, acc: Self::Sums, w: [Self::Bytes; N], x: [i32; N]) -> Self::Sums;
    /// For [`sums_dot8`](Self::sums_dot8); `offset` is -8·Σx over all its steps.
    fn sums_start8(self, offset: i32) -> Self::Sums;
    /// Adds a step of signed weights.
    fn sums_dot8(self, acc: Self::Sums, w: Self::Bytes, x: i32) -> Self::Sums;
    fn sums_end(self, acc: Self::Sums) -> Self::V;

    /// Sixteen i8 as f32.
    fn load_i8(self, from: &[u8; LANES]) -> Self::V;
    /// Rounds to the nearest integer, ties to even; values are within ±127.
    fn to_i8(self, v: Self::V) -> [i8; LANES];
    /// Asks for the cache line `ahead` bytes after the start of `from`, which may lie anywhere.
    fn prefetch(self, from: &[u8; 64], ahead: usize);

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

    #[inline(always)]
    fn abs(self, v: Self::V) -> Self::V {
        self.max(self.sub(self.splat(0.0), v), v)
    }

    /// Loads a whole vector, or what there is of one (zeros after it).
    #[inline(always)]
    fn read(self, from: &[f32]) -> Self::V {
        match from.first_chunk::<LANES>() {
            Some(full) => self.load(full),
            None => self.load_head(from),
        }
    }

    /// Stores a whole vector, or as much of it as there is room for.
    #[inline(always)]
    fn write(self, v: Self::V, to: &mut [f32]) {
        match to.first_chunk_mut::<LANES>() {
            Some(full) => self.store(v, full),
            None => self.store_head(v, to),
        }
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
        let x = self.max(self.splat(-87.3), self.min(self.splat(88.0), x));
        let n = self.round(self.mul(x, self.splat(std::f32::consts::LOG2_E)));
        let r = self.fma(n, self.splat(-355.0 / 512.0), x);
        let r = self.fma(n, self.splat(2.121_944_4e-4), r);
        let mut p = self.splat(1.987_569_1e-4);
        for k in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
            p = self.fma(p, r, self.splat(k));
        }
        let p = self.add(self.fma(p, self.mul(r, r), r), self.splat(1.0));
        self.mul(p, self.exp2_int(n))
    }

    /// ln(1 + e^x) to about 1 ulp: `max(x, 0) + ln(1 + u)` with u = e^-|x|, and the logarithm as `2·atanh(u / (2 + u))`, whose
    /// series is short because its argument is at most 1/3. Above 20 it is x itself to the last bit.
    #[inline(always)]
    fn softplus(self, x: Self::V) -> Self::V {
        let u = self.exp(self.sub(self.splat(0.0), self.abs(x)));
        let z = self.div(u, self.add(self.splat(2.0), u));
        let zz = self.mul(z, z);
        let mut p = self.splat(2.0 / 15.0);
        for odd in [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
            p = self.fma(p, zz, self.splat(2.0 / odd));
        }
        self.fma(p, z, self.max(x, self.splat(0.0)))
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

#[inline(always)]
pub(in crate::kernels) fn f16_to_f32(bits: u16) -> f32 {
    half::f16::from_bits(bits).to_f32_const()
}

#[inline(always)]
pub(in crate::kernels) fn bf16_to_f32(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

#[cfg(target_arch = "x86_64")]
pub(in crate::kernels) use avx512::Avx512;
#[cfg(target_arch = "x86_64")]
use {avx2::Avx2, avxvnni::AvxVnni};

/// A kernel body that [`dispatch`] instantiates for a tier.
pub(in crate::kernels) trait Kernel {
    type Output;
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// Runs `kernel` with the tier's lanes. The tier is one that `CpuTier::is_supported` said yes to, or it is lowered to one.
#[inline]
pub(in crate::kernels) fn dispatch<K: Kernel>(tier: super::CpuTier, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    {
        use super::CpuTier;
        #[target_feature(enable = "avx2,fma,f16c")]
        fn avx2<K: Kernel>(kernel: K) -> K::Output {
            // SAFETY: this function runs with these features.
            kernel.run(unsafe { Avx2::new() })
        }
        #[target_feature(enable = "avxvnni,avx2,fma,f16c")]
        fn avxvnni<K: Kernel>(kernel: K) -> K::Output {
            // SAFETY: this function runs with these features.
            kernel.run(unsafe { AvxVnni::new() })
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn avx512<K: Kernel>(kernel: K) -> K::Output {
            // SAFETY: this function runs with these features.
            kernel.run(unsafe { Avx512::new() })
        }
        match tier {
            // SAFETY: `is_supported` has just asked the CPU (the answers are cached by std).
            CpuTier::Avx512Vnni | CpuTier::Amx if CpuTier::Avx512Vnni.is_supported() => {
                return unsafe { avx512(kernel) };
            }
            // SAFETY: as above.
            CpuTier::AvxVnni if tier.is_supported() => return unsafe { avxvnni(kernel) },
            // SAFETY: as above.
            CpuTier::Avx2 if tier.is_supported() => return unsafe { avx2(kernel) },
            _ => {}
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        use super::CpuTier;
        match tier {
            // SAFETY: `is_supported` has just asked the CPU (the answers are cached by std).
            CpuTier::NeonDotprod if tier.is_supported() => {
                return kernel.run(unsafe { neon::Neon::<true>::new() });
            }
            // SAFETY: NEON belongs to this architecture.
            CpuTier::Neon => return kernel.run(unsafe { neon::Neon::<false>::new() }),
            _ => {}
        }
    }
    let _ = tier;
    kernel.run(Plain)
}
