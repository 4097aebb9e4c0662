//! Every kernel on every tier this CPU has, against f64 references on random inputs of odd sizes.
#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod elementwise;
mod matmul;
mod mixer;
mod pool;

use super::{CpuTier, Pool};

/// SplitMix64: the same inputs on every run.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn vec(&mut self, len: usize, scale: f32) -> Vec<f32> {
        (0..len).map(|_| self.unit() * scale).collect()
    }
}

fn tiers() -> Vec<CpuTier> {
    CpuTier::available()
}

/// Asserts |got - want| <= tolerance · size, value by value; `size` is what the rounding errors are relative to.
#[track_caller]
fn assert_close(what: &str, got: &[f32], want: &[f64], size: &[f64], tolerance: f64) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, ((got, want), size)) in got.iter().zip(want).zip(size).enumerate() {
        let error = (f64::from(*got) - want).abs();
        assert!(
            error <= tolerance * size.max(1e-30),
            "{what}[{i}]: got {got}, want {want}, error {error:e}, size {size:e}"
        );
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Runs `f` on pools of 1, 2 and 3 threads and asserts the same bits from each.
#[track_caller]
fn same_on_any_threads(what: &str, f: impl Fn(&Pool) -> Vec<f32>) -> Vec<f32> {
    let one = f(&Pool::new(1));
    for threads in [2, 3] {
        assert_eq!(bits(&one), bits(&f(&Pool::new(threads))), "{what} on {threads} threads");
    }
    one
}

#[test]
fn tiers_are_found_by_name_and_the_portable_one_is_always_there() {
    for tier in CpuTier::ALL {
        assert_eq!(CpuTier::from_name(tier.name()), Some(tier));
        assert!(tier.or_supported().is_supported());
    }
    assert_eq!(CpuTier::from_name("mmx"), None);
    assert_eq!(CpuTier::available()[0], CpuTier::Portable);
    assert!(CpuTier::available().contains(&CpuTier::detect()));
}
