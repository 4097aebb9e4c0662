//! Norms, activations and sums on every tier against f64.
use super::super::simd::{Kernel, LANES, Simd, dispatch};
use super::super::{
    Pool, RopeTable, Rows, Segment, add_scaled, gate, gated_rms_norm, rms_norm, rope_norm, silu_mul,
};
use super::{Rng, assert_close, same_on_any_threads, tiers};

const SIZES: [usize; 6] = [1, 15, 16, 33, 768, 771];

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn magnitudes(values: &[f64]) -> Vec<f64> {
    values.iter().map(|v| v.abs()).collect()
}

struct Exp(Vec<f32>);

impl Kernel for Exp {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f32> {
        self.0.as_chunks::<LANES>().0.iter().flat_map(|v| s.to_array(s.exp(s.load(v)))).collect()
    }
}

#[test]
fn exp_is_good_to_two_ulp_and_exact_at_zero() {
    let x: Vec<f32> = (0..160_000).map(|i| -87.0 + i as f32 * (175.0 / 160_000.0)).collect();
    for tier in tiers() {
        let got = dispatch(tier, Exp(x.clone()));
        for (x, got) in x.iter().zip(&got) {
            let want = f64::from(*x).exp();
            let ulp = f64::from((want as f32).next_up() - want as f32);
            assert!(
                (f64::from(*got) - want).abs() <= 2.0 * ulp,
                "exp({x}) = {got}, not {want} ({})",
                tier.name()
            );
        }
        let ends =
            dispatch(tier, Exp([vec![0.0, f32::NEG_INFINITY, -1e9, f32::NAN, 1e9], vec![-0.0; 11]].concat()));
        assert_eq!((ends[0], ends[5]), (1.0, 1.0));
        assert!(ends[1] < 2e-38 && ends[2] < 2e-38 && ends[3].is_nan() && ends[4].is_finite(), "{ends:?}");
    }
}

#[test]
fn rms_norm_agrees_with_f64() {
    let mut rng = Rng(10);
    for d in SIZES {
        let (x, w) = (rng.vec(11 * d, 4.0), rng.vec(d, 1.0));
        let eps = 1e-5;
        let want: Vec<f64> = wide(&x)
            .chunks_exact(d)
            .flat_map(|x| {
                let mean = x.iter().map(|v| v * v).sum::<f64>() / d as f64;
                let factor = 1.0 / (mean + f64::from(eps)).sqrt();
                x.iter().zip(&w).map(move |(v, w)| v * factor * f64::from(*w)).collect::<Vec<_>>()
            })
            .collect();
        for tier in tiers() {
            let got = same_on_any_threads("rms_norm", |pool| {
                let mut out = vec![0.0; x.len()];
                rms_norm(tier, pool, &x, &w, eps, &mut out);
                out
            });
            assert_close(&format!("rms_norm {d}"), &got, &want, &magnitudes(&want), 1e-6);
        }
    }
}

#[test]
fn silu_mul_agrees_with_f64_even_far_out() {
    let mut rng = Rng(11);
    for n in [1, 17, 5000, 9001] {
        let (gate, up) = (rng.vec(n, 100.0), rng.vec(n, 2.0));
        let want: Vec<f64> = gate.iter().zip(&up).map(|(g, u)| silu(f64::from(*g)) * f64::from(*u)).collect();
        // Below -87 the true value is under 1e-36: absolute error is what counts there.
        let size: Vec<f64> = want.iter().map(|v| v.abs().max(1e-29)).collect();
        for tier in tiers() {
            let got = same_on_any_threads("silu_mul", |pool| {
                let mut out = vec![0.0; n];
                silu_mul(tier, pool, &gate, &up, &mut out);
                out
            });
            assert_close("silu_mul", &got, &want, &size, 1e-6);
        }
    }
}

#[test]
fn gated_rms_norm_gates_before_the_norm_and_norms_each_group() {
    let mut rng = Rng(12);
    for (m, di, groups) in [(1, 64, 1), (3, 96, 2), (17, 42, 3)] {
        let (stride, start) = (di + 13, 5);
        let (y, z, w) = (rng.vec(m * di, 2.0), rng.vec(m * stride, 3.0), rng.vec(di, 1.0));
        let part = di / groups;
        let mut want = vec![0.0; m * di];
        for (i, want) in want.chunks_exact_mut(di).enumerate() {
            for (j, v) in want.iter_mut().enumerate() {
                *v = f64::from(y[i * di + j]) * silu(f64::from(z[i * stride + start + j]));
            }
            for (want, w) in want.chunks_exact_mut(part).zip(w.chunks_exact(part)) {
                let mean = want.iter().map(|v| v * v).sum::<f64>() / part as f64;
                want.iter_mut().zip(w).for_each(|(v, w)| *v *= f64::from(*w) / (mean + 1e-5).sqrt());
            }
        }
        for tier in tiers() {
            let got = same_on_any_threads("gated_rms_norm", |pool| {
                let mut out = vec![0.0; m * di];
                gated_rms_norm(tier, pool, &y, Rows::part(&z, stride, start, di), &w, groups, 1e-5, &mut out);
                out
            });
            assert_close("gated_rms_norm", &got, &want, &magnitudes(&want), 2e-6);
        }
    }
}

#[test]
fn gate_multiplies_by_the_silu_of_z() {
    let mut rng = Rng(14);
    for (m, di) in [(1, 64), (19, 37)] {
        let (stride, start) = (di + 9, 4);
        let (y, z) = (rng.vec(m * di, 2.0), rng.vec(m * stride, 3.0));
        let want = |i: usize, j: usize| f64::from(y[i * di + j]) * silu(f64::from(z[i * stride + start + j]));
        let want: Vec<f64> = (0..m * di).map(|at| want(at / di, at % di)).collect();
        for tier in tiers() {
            let got = same_on_any_threads("gate", |pool| {
                let mut out = vec![0.0; m * di];
                gate(tier, pool, &y, Rows::part(&z, stride, start, di), &mut out);
                out
            });
            assert_close("gate", &got, &want, &magnitudes(&want), 2e-6);
        }
    }
}

#[test]
fn add_scaled_adds() {
    let mut rng = Rng(13);
    let (x, y) = (rng.vec(8200, 1.0), rng.vec(8200, 1.0));
    let want: Vec<f64> = x.iter().zip(&y).map(|(x, y)| f64::from(*x) + 0.22 * f64::from(*y)).collect();
    for tier in tiers() {
        let mut got = x.clone();
        add_scaled(tier, &Pool::new(2), &mut got, &y, 0.22);
        assert_close("add_scaled", &got, &want, &vec![1.0; 8200], 2e-7);
    }
}

struct Softplus(Vec<f32>);

impl Kernel for Softplus {
    type Output = Vec<f32>;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<f32> {
        self.0.as_chunks::<LANES>().0.iter().flat_map(|v| s.to_array(s.softplus(s.load(v)))).collect()
    }
}

#[test]
fn softplus_is_good_to_four_ulp_and_the_value_itself_above_20() {
    let x: Vec<f32> = (0..96_000).map(|i| -80.0 + i as f32 * (180.0 / 96_000.0)).collect();
    for tier in tiers() {
        for (x, got) in x.iter().zip(dispatch(tier, Softplus(x.clone()))) {
            let want = f64::from(*x).exp().ln_1p();
            let ulp = f64::from((want as f32).next_up() - want as f32);
            let contract = if *x > 20.0 { got == *x } else { true };
            let close = (f64::from(got) - want).abs() <= 4.0 * ulp;
            assert!(close && contract, "softplus({x}) = {got}, not {want} ({})", tier.name());
        }
    }
}

#[test]
fn rope_turns_adjacent_pairs_and_leaves_the_rest() {
    let mut rng = Rng(14);
    let (heads, head_dim, start, m) = (3, 32, 1000, 19);
    let inv_freq: Vec<f64> = (0..12).map(|j| 10_000f64.powf(-2.0 * f64::from(j) / 24.0)).collect();
    let table = RopeTable::new(&inv_freq, 1.1, 1100);
    let x = rng.vec(m * heads * head_dim, 1.0);
    let mut want = wide(&x);
    for (i, row) in want.chunks_exact_mut(head_dim).enumerate() {
        let pos = (start + i / heads) as f64;
        for (pair, f) in row.chunks_exact_mut(2).zip(&inv_freq) {
            let (sin, cos) = (pos * f).sin_cos();
            (pair[0], pair[1]) =
                (1.1 * (pair[0] * cos - pair[1] * sin), 1.1 * (pair[0] * sin + pair[1] * cos));
        }
    }
    let got = same_on_any_threads("rope", |pool| {
        let mut x = x.clone();
        rope_norm(pool, &table, &mut x, head_dim, heads, &Segment::whole(m, start)).unwrap();
        x
    });
    assert_close("rope", &got, &want, &vec![1.0; got.len()], 5e-7);
    assert!(
        rope_norm(&Pool::new(1), &table, &mut x.clone(), head_dim, heads, &Segment::whole(m, 1090)).is_err(),
        "beyond the table"
    );
}
