//! Panels of floats, `[k][16]`: f32 math with the f32 activations.
use super::super::Activation;
use super::super::simd::{LANES, Simd};
use super::Format;

#[derive(Clone, Copy)]
pub(super) struct F32;
#[derive(Clone, Copy)]
pub(super) struct F16;
#[derive(Clone, Copy)]
pub(super) struct Bf16;

impl Format for F32 {
    #[inline(always)]
    fn product<S: Simd, const NP: usize, const R: usize>(
        self,
        s: S,
        w: [&[u8]; NP],
        act: &Activation,
        first: usize,
    ) -> [[S::V; NP]; R] {
        product::<S, { 4 * LANES }, NP, R>(s, w, act, first, |b| s.load(&numbers(b)))
    }
}

impl Format for F16 {
    #[inline(always)]
    fn product<S: Simd, const NP: usize, const R: usize>(
        self,
        s: S,
        w: [&[u8]; NP],
        act: &Activation,
        first: usize,
    ) -> [[S::V; NP]; R] {
        product::<S, { 2 * LANES }, NP, R>(s, w, act, first, |b| s.load_f16(&super::quantized::halves(b)))
    }
}

impl Format for Bf16 {
    #[inline(always)]
    fn product<S: Simd, const NP: usize, const R: usize>(
        self,
        s: S,
        w: [&[u8]; NP],
        act: &Activation,
        first: usize,
    ) -> [[S::V; NP]; R] {
        product::<S, { 2 * LANES }, NP, R>(s, w, act, first, |b| s.load_bf16(&super::quantized::halves(b)))
    }
}

#[inline(always)]
fn numbers(bytes: &[u8; 4 * LANES]) -> [f32; LANES] {
    // SAFETY: 64 bytes, any pattern of which is 16 numbers; an array of bytes may be read as one of any alignment.
    unsafe { bytes.as_ptr().cast::<[f32; LANES]>().read_unaligned() }
}

#[inline(always)]
fn product<S: Simd, const BYTES: usize, const NP: usize, const R: usize>(
    s: S,
    w: [&[u8]; NP],
    act: &Activation,
    first: usize,
    load: impl Fn(&[u8; BYTES]) -> S::V,
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
            lanes[p] = load(&panels[p][k]);
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
