//! Plain Rust lanes: the yardstick of the others, and the only ones on CPUs without them.
use super::{LANES, Simd, bf16_to_f32, f16_to_f32};

/// Plain Rust lanes.
#[derive(Clone, Copy)]
pub(in crate::kernels) struct Plain;

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
        // (n + 127) << 23 are the bits of 2^n. `as` saturates, NaN becomes 0.
        map1(n, |n| f32::from_bits(((n as i32 + 127) << 23) as u32))
    }

    type Bytes = [u8; 64];
    type Nibbles = [i32; LANES];
    type Sums = [i32; LANES];
    const WIDE: bool = false;
    const TALL: bool = false;
    #[inline(always)]
    fn load_bytes(self, from: &[u8; 64]) -> [u8; 64] {
        *from
    }
    #[inline(always)]
    fn low(self, b: [u8; 64]) -> [u8; 64] {
        b.map(|b| b & 15)
    }
    #[inline(always)]
    fn high(self, b: [u8; 64]) -> [u8; 64] {
        b.map(|b| b >> 4)
    }
    #[inline(always)]
    fn with_top<const QUAD: usize>(self, low: [u8; 64], tops: [u8; 64]) -> [u8; 64] {
        let mut out = low;
        out.iter_mut().zip(tops).for_each(|(v, top)| *v |= (top >> (2 * QUAD) & 3) << 4);
        out
    }
    #[inline(always)]
    fn with_bit<const QUAD: usize>(self, low: [u8; 64], tops: [u8; 64]) -> [u8; 64] {
        let mut out = low;
        out.iter_mut().zip(tops).for_each(|(v, top)| *v |= (top >> QUAD & 1) << 4);
        out
    }
    #[inline(always)]
    fn store_bytes(self, b: [u8; 64], to: &mut [u8; 64]) {
        *to = b;
    }
    #[inline(always)]
    fn nibbles_start(self, offset: i32) -> [i32; LANES] {
        [offset; LANES]
    }
    #[inline(always)]
    fn nibbles_dot(self, acc: [i32; LANES], w: [u8; 64], x: i32) -> [i32; LANES] {
        dot(acc, w, x, i32::from)
    }
    #[inline(always)]
    fn nibbles_end(self, acc: [i32; LANES], _offset: i32) -> Self::V {
        acc.map(|v| v as f32)
    }
    #[inline(always)]
    fn sums_start(self, offset: i32) -> [i32; LANES] {
        [offset; LANES]
    }
    #[inline(always)]
    fn sums_dot<const N: usize>(self, acc: [i32; LANES], w: [[u8; 64]; N], x: [i32; N]) -> [i32; LANES] {
        w.iter().zip(x).fold(acc, |acc, (w, x)| dot(acc, *w, x, i32::from))
    }
    #[inline(always)]
    fn sums_start8(self, _offset: i32) -> [i32; LANES] {
        [0; LANES]
    }
    #[inline(always)]
    fn sums_dot8(self, acc: [i32; LANES], w: [u8; 64], x: i32) -> [i32; LANES] {
        dot(acc, w, x, |w| i32::from(w as i8))
    }
    #[inline(always)]
    fn sums_end(self, acc: [i32; LANES]) -> Self::V {
        acc.map(|v| v as f32)
    }
    #[inline(always)]
    fn load_i8(self, from: &[u8; LANES]) -> Self::V {
        from.map(|b| f32::from(b as i8))
    }
    #[inline(always)]
    fn to_i8(self, v: Self::V) -> [i8; LANES] {
        self.round(v).map(|v| v as i8)
    }
    #[inline(always)]
    fn prefetch(self, _from: &[u8; 64], _ahead: usize) {}
}

#[inline(always)]
fn dot(acc: [i32; LANES], w: [u8; 64], x: i32, weight: impl Fn(u8) -> i32) -> [i32; LANES] {
    let x = x.to_ne_bytes().map(|x| i32::from(x as i8));
    let mut out = acc;
    for (v, w) in out.iter_mut().zip(w.as_chunks::<4>().0) {
        *v += weight(w[0]) * x[0] + weight(w[1]) * x[1] + weight(w[2]) * x[2] + weight(w[3]) * x[3];
    }
    out
}
