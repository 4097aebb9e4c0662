//! The kernels, timed by criterion: `cargo bench -p chimera-engine --bench kernels [-- FILTER]`.
use criterion::criterion_main;

mod mixer;
mod products;

/// Values in [-1, 1), the same at every run.
fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

criterion_main!(products::products, mixer::mixer);
