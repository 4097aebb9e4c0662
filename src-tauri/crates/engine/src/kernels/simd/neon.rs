//! Lanes in four 128-bit registers. NEON is part of every 64-bit Arm target; dot products of bytes (`sdot`) are asked for.
//!
//! `sdot` and `fcvtl` are written out: the intrinsics of the first are not stable in Rust 1.95, those of the second not in all
//! versions we build with. All weights fit signed bytes (nibbles, six bits, or signed eight), so one instruction serves every type.
use super::{LANES, Simd};
use std::arch::aarch64::*;
use std::arch::asm;

/// NEON, and `sdot` where `DOT` says so.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Neon<const DOT: bool>(());

impl<const DOT: bool> Neon<DOT> {
    /// # Safety
    /// The CPU has NEON, and for `DOT` the dot product extension (FEAT_DotProd).
    #[inline(always)]
    pub(in crate::kernels) unsafe fn new() -> Self {
        Neon(())
    }

    /// For each lane, `acc` plus the dot product of its four weights with the four activations in `x`.
    #[inline(always)]
    fn dot(self, acc: Ints, w: Quads, x: i32) -> Ints {
        // SAFETY: NEON is there.
        let x = unsafe { vreinterpretq_s8_s32(vdupq_n_s32(x)) };
        let mut out = acc;
        for i in 0..4 {
            // SAFETY: `self` proves the extension.
            out[i] = unsafe { if DOT { sdot(acc[i], w[i], x) } else { multiplied(acc[i], w[i], x) } };
        }
        out
    }
}

type Floats = [float32x4_t; 4];
type Ints = [int32x4_t; 4];
/// Four neighbouring k for each of 4×4 rows.
type Quads = [uint8x16_t; 4];

/// # Safety
/// The CPU has FEAT_DotProd.
#[inline(always)]
unsafe fn sdot(mut acc: int32x4_t, w: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            ".arch_extension dotprod", "sdot {acc:v}.4s, {w:v}.16b, {x:v}.16b",
            acc = inout(vreg) acc, w = in(vreg) w, x = in(vreg) x,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    acc
}

/// The same without the extension. Two products of bytes fit 16 bits: 2·128·127 = 32,512.
#[inline(always)]
fn multiplied(acc: int32x4_t, w: uint8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: NEON is there.
    unsafe {
        let w = vreinterpretq_s8_u8(w);
        let low = vmull_s8(vget_low_s8(w), vget_low_s8(x));
        vpadalq_s16(acc, vpaddq_s16(low, vmull_high_s8(w, x)))
    }
}

/// Four f16.
#[inline(always)]
fn half(bits: uint16x4_t) -> float32x4_t {
    let wide: float32x4_t;
    // SAFETY: a conversion of the base instruction set.
    unsafe {
        asm!("fcvtl {to:v}.4s, {from:v}.4h", to = lateout(vreg) wide, from = in(vreg) bits,
            options(pure, nomem, nostack, preserves_flags));
    }
    wide
}

macro_rules! quarterwise {
    ($($name:ident($($arg:ident),+) = $body:expr;)+) => { $(
        #[inline(always)]
        fn $name(self, $($arg: Floats),+) -> Floats {
            // SAFETY: NEON is there.
            unsafe { [0, 1, 2, 3].map(|i| { $(let $arg = $arg[i];)+ $body }) }
        }
    )+ };
}

impl<const DOT: bool> Simd for Neon<DOT> {
    type V = Floats;
    #[inline(always)]
    fn splat(self, value: f32) -> Floats {
        // SAFETY: NEON is there.
        unsafe { [vdupq_n_f32(value); 4] }
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Floats {
        // SAFETY: four quarters of the array.
        [0, 4, 8, 12].map(|i| unsafe { vld1q_f32(from.as_ptr().add(i)) })
    }
    #[inline(always)]
    fn store(self, v: Floats, to: &mut [f32; LANES]) {
        for (to, v) in to.as_chunks_mut::<4>().0.iter_mut().zip(v) {
            // SAFETY: four values.
            unsafe { vst1q_f32(to.as_mut_ptr(), v) };
        }
    }
    #[inline(always)]
    fn load_f16(self, from: &[u16; LANES]) -> Floats {
        // SAFETY: four quarters of the array.
        [0, 4, 8, 12].map(|i| half(unsafe { vld1_u16(from.as_ptr().add(i)) }))
    }
    #[inline(always)]
    fn load_bf16(self, from: &[u16; LANES]) -> Floats {
        // SAFETY: four quarters of the array.
        [0, 4, 8, 12]
            .map(|i| unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(from.as_ptr().add(i)))) })
    }
    quarterwise! {
        add(a, b) = vaddq_f32(a, b);
        sub(a, b) = vsubq_f32(a, b);
        mul(a, b) = vmulq_f32(a, b);
        div(a, b) = vdivq_f32(a, b);
        min(a, b) = vbslq_f32(vcltq_f32(a, b), a, b);
        max(a, b) = vbslq_f32(vcgtq_f32(a, b), a, b);
        fma(a, b, c) = vfmaq_f32(c, a, b);
        round(v) = vrndnq_f32(v);
        exp2_int(n) = vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127))));
    }

    type Bytes = Quads;
    type Nibbles = Ints;
    type Sums = Ints;
    /// Sixteen lanes are four registers here: 32 of them hold four outputs' sums and little else.
    const WIDE: bool = false;
    const TALL: bool = false;
    #[inline(always)]
    fn load_bytes(self, from: &[u8; 64]) -> Quads {
        // SAFETY: four quarters of the array.
        [0, 16, 32, 48].map(|i| unsafe { vld1q_u8(from.as_ptr().add(i)) })
    }
    #[inline(always)]
    fn low(self, b: Quads) -> Quads {
        // SAFETY: NEON is there.
        b.map(|b| unsafe { vandq_u8(b, vdupq_n_u8(15)) })
    }
    #[inline(always)]
    fn high(self, b: Quads) -> Quads {
        // SAFETY: NEON is there.
        b.map(|b| unsafe { vshrq_n_u8::<4>(b) })
    }
    #[inline(always)]
    fn with_top<const QUAD: usize>(self, low: Quads, tops: Quads) -> Quads {
        // SAFETY: NEON is there.
        [0, 1, 2, 3].map(|i| unsafe {
            let moved = match QUAD {
                0 => vshlq_n_u8::<4>(tops[i]),
                1 => vshlq_n_u8::<2>(tops[i]),
                2 => tops[i],
                _ => vshrq_n_u8::<2>(tops[i]),
            };
            vorrq_u8(low[i], vandq_u8(moved, vdupq_n_u8(0x30)))
        })
    }
    #[inline(always)]
    fn with_bit<const QUAD: usize>(self, low: Quads, tops: Quads) -> Quads {
        // SAFETY: NEON is there.
        [0, 1, 2, 3].map(|i| unsafe {
            let bit = vtstq_u8(tops[i], vdupq_n_u8(1 << QUAD));
            vorrq_u8(low[i], vandq_u8(bit, vdupq_n_u8(0x10)))
        })
    }
    #[inline(always)]
    fn store_bytes(self, b: Quads, to: &mut [u8; 64]) {
        for (to, b) in to.as_chunks_mut::<16>().0.iter_mut().zip(b) {
            // SAFETY: sixteen bytes.
            unsafe { vst1q_u8(to.as_mut_ptr(), b) };
        }
    }
    #[inline(always)]
    fn nibbles_start(self, offset: i32) -> Ints {
        self.sums_start(offset)
    }
    #[inline(always)]
    fn nibbles_dot(self, acc: Ints, w: Quads, x: i32) -> Ints {
        self.dot(acc, w, x)
    }
    #[inline(always)]
    fn nibbles_end(self, acc: Ints, _offset: i32) -> Floats {
        self.sums_end(acc)
    }
    #[inline(always)]
    fn sums_start(self, offset: i32) -> Ints {
        // SAFETY: NEON is there.
        unsafe { [vdupq_n_s32(offset); 4] }
    }
    #[inline(always)]
    fn sums_dot<const N: usize>(self, acc: Ints, w: [Quads; N], x: [i32; N]) -> Ints {
        let mut out = acc;
        for i in 0..N {
            out = self.dot(out, w[i], x[i]);
        }
        out
    }
    #[inline(always)]
    fn sums_start8(self, _offset: i32) -> Ints {
        self.sums_start(0)
    }
    #[inline(always)]
    fn sums_dot8(self, acc: Ints, w: Quads, x: i32) -> Ints {
        self.dot(acc, w, x)
    }
    #[inline(always)]
    fn sums_end(self, acc: Ints) -> Floats {
        // SAFETY: NEON is there.
        acc.map(|acc| unsafe { vcvtq_f32_s32(acc) })
    }
    #[inline(always)]
    fn load_i8(self, from: &[u8; LANES]) -> Floats {
        // SAFETY: NEON is there, and the array is 16 bytes.
        unsafe {
            let bytes = vreinterpretq_s8_u8(vld1q_u8(from.as_ptr()));
            let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
            self.sums_end([
                vmovl_s16(vget_low_s16(low)),
                vmovl_high_s16(low),
                vmovl_s16(vget_low_s16(high)),
                vmovl_high_s16(high),
            ])
        }
    }
    #[inline(always)]
    fn to_i8(self, v: Floats) -> [i8; LANES] {
        let mut out = [0; LANES];
        // SAFETY: NEON is there, and the array is 16 bytes.
        unsafe {
            let [a, b, c, d] = v.map(|v| vcvtnq_s32_f32(v));
            let low = vcombine_s16(vqmovn_s32(a), vqmovn_s32(b));
            let high = vcombine_s16(vqmovn_s32(c), vqmovn_s32(d));
            vst1q_s8(out.as_mut_ptr(), vcombine_s8(vqmovn_s16(low), vqmovn_s16(high)));
        }
        out
    }
    /// Asked of no Arm CPU yet whether it helps.
    #[inline(always)]
    fn prefetch(self, _from: &[u8; 64], _ahead: usize) {}
}
