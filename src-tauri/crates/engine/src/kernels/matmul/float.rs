//! Panels of floats, `[k][16]`: f32 math with the f32 activations.
use super::super::Activation;
use super::super::simd::{LANES, Simd};
use super::Format;
use super::quantized::halves;

/// One k of a panel.
trait Lanes<const BYTES: usize>: Copy {
    fn load<S: Simd>(s: S, from: &[u8; BYTES]) -> S::V;
}

#[derive(Clone, Copy)]
pub(super) struct F32;
#[derive(Clone, Copy)]
pub(super) struct F16;
#[derive(Clone, Copy)]
pub(super) struct Bf16;

impl Lanes<{ 4 * LANES }> for F32 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[u8; 4 * LANES]) -> S::V {
        // SAFETY: 64 bytes, any pattern of which is 16 numbers; bytes may be read as an array of any alignment.
        s.load(&unsafe { from.as_ptr().cast::<[f32; LANES]>().read_unaligned() })
    }
}

impl Lanes<{ 2 * LANES }> for F16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[u8; 2 * LANES]) -> S::V {
        s.load_f16(&halves(from))
    }
}

impl Lanes<{ 2 * LANES }> for Bf16 {
    #[inline(always)]
    fn load<S: Simd>(s: S, from: &[u8; 2 * LANES]) -> S::V {
        s.load_bf16(&halves(from))
    }
}

macro_rules! format {
    ($($name:ident: $bytes:literal;)+) => { $(
        impl Format for $name {
            const TALL: bool = false;
            #[inline(always)]
            fn product<S: Simd, const NP: usize, const R: usize>(
                self,
                s: S,
                w: [&[u8]; NP],
                act: &Activation,
                first: usize,
            ) -> [[S::V; NP]; R] {
                product::<S, $name, { $bytes * LANES }, NP, R>(s, w, act, first)
            }
        }
    )+ };
}
format! {
    F32: 4;
    F16: 2;
    Bf16: 2;
}

#[inline(always)]
fn product<S: Simd, L: Lanes<BYTES>, const BYTES: usize, const NP: usize, const R: usize>(
    s: S,
    w: [&[u8]; NP],
    act: &Activation,
    first: usize,
) -> [[S::V; NP]; R] {
    let mut acc = [[s.splat(0.0); NP]; R];
    let mut panels: [&[[u8; BYTES]]; NP] = [&[]; NP];
    let mut x: [&[f32]; R] = [&[]; R];
    for p in 0..NP {
        panels[p] = &w[p].as_chunks::<BYTES>().0[..act.k()];
    }
    for r in 0..R {
        x[r] = &act.row(first + r)[..act.k()];
    }
    for k in 0..act.k() {
        let mut lanes = [s.splat(0.0); NP];
        for p in 0..NP {
            lanes[p] = L::load(s, &panels[p][k]);
        }
        for r in 0..R {
            let x = s.splat(x[r][k]);
            for p in 0..NP {
                acc[r][p] = s.fma(lanes[p], x, acc[r][p]);
            }
        }
    }
    acc
}
