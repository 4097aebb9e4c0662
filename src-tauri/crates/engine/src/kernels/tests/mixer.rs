//! Convolution and scan on every tier against f64, whole and in pieces.
use super::super::{ConvWeights, CpuTier, Pool, Rows, Segment, SsmShape, SsmWeights, conv_silu, ssm_scan};
use super::{Rng, assert_close, bits, same_on_any_threads, tiers};

/// Ways to cut 23 tokens into calls.
const SPLITS: [&[usize]; 5] = [&[23], &[1; 23], &[5, 18], &[16, 4, 3], &[2, 1, 8, 12]];

#[test]
fn convolution_agrees_with_f64_and_carries_its_state_exactly() {
    let mut rng = Rng(20);
    for dim in [1, 16, 40, 300, 1792] {
        let (m, stride, start) = (23, dim + 9, 4);
        let (taps, bias) = (rng.vec(dim * 4, 1.0), rng.vec(dim, 0.5));
        let (x, before) = (rng.vec(m * stride, 2.0), rng.vec(3 * dim, 2.0));
        let at = |t: isize, c: usize| {
            f64::from(if t < 0 {
                before[(t + 3) as usize * dim + c]
            } else {
                x[t as usize * stride + start + c]
            })
        };
        let mut want = Vec::new();
        for t in 0..m as isize {
            for c in 0..dim {
                let v = (0..4).map(|k| f64::from(taps[c * 4 + k]) * at(t - 3 + k as isize, c)).sum::<f64>();
                let v = v + f64::from(bias[c]);
                want.push(v / (1.0 + (-v).exp()));
            }
        }
        let w = ConvWeights::new(&taps, &bias).unwrap();
        let run = |tier: CpuTier, pool: &Pool, split: &[usize]| {
            let (mut state, mut out, mut done) = (before.clone(), Vec::new(), 0);
            for n in split {
                let part = &x[done * stride..(done + n) * stride];
                let mut y = vec![0.0; n * dim];
                let x = Rows::part(part, stride, start, dim);
                conv_silu(tier, pool, &w, x, &mut Segment::whole(*n, &mut state[..]), &mut y).unwrap();
                out.extend(y);
                done += n;
            }
            [out, state].concat()
        };
        for tier in tiers() {
            let whole = same_on_any_threads("conv", |pool| run(tier, pool, SPLITS[0]));
            let (y, state) = whole.split_at(m * dim);
            assert_close(&format!("conv {dim} {}", tier.name()), y, &want, &vec![4.0; want.len()], 1e-6);
            let last: Vec<f32> = (m - 3..m).flat_map(|t| &x[t * stride + start..][..dim]).copied().collect();
            assert_eq!(state, last);
            for split in SPLITS {
                assert_eq!(bits(&whole), bits(&run(tier, &Pool::new(2), split)), "{split:?}");
            }
        }
    }
}

struct Scan {
    shape: SsmShape,
    a: Vec<f32>,
    d: Vec<f32>,
    dt_bias: Vec<f32>,
    xbc: Vec<f32>,
    dt: Vec<f32>,
    state: Vec<f32>,
}

const M: usize = 23;

impl Scan {
    fn new(rng: &mut Rng, heads: usize, head_dim: usize, state: usize, groups: usize) -> Scan {
        let shape = SsmShape { heads, head_dim, state, groups };
        Scan {
            shape,
            a: (0..heads).map(|_| -(rng.unit() + 1.05) * 4.0).collect(),
            d: rng.vec(heads, 1.0),
            dt_bias: rng.vec(heads, 2.0),
            xbc: rng.vec(M * (shape.conv_dim() + 3), 1.0),
            dt: rng.vec(M * (heads + 2), 3.0),
            state: rng.vec(shape.state_len(), 1.0),
        }
    }

    /// (y, final state, their sizes) in f64.
    fn reference(&self) -> (Vec<f64>, Vec<f64>) {
        let SsmShape { heads, head_dim, state: n, groups } = self.shape;
        let wide = |v: f32| f64::from(v);
        let mut s: Vec<f64> = self.state.iter().map(|v| wide(*v)).collect();
        let mut y = vec![0.0; M * heads * head_dim];
        for t in 0..M {
            let row = &self.xbc[t * (self.shape.conv_dim() + 3) + 3..][..self.shape.conv_dim()];
            for h in 0..heads {
                let v = wide(self.dt[t * (heads + 2) + 1 + h]) + wide(self.dt_bias[h]);
                let dt = if v > 20.0 { v } else { v.exp().ln_1p() };
                let da = (dt * wide(self.a[h])).exp();
                let g = h / (heads / groups);
                for p in 0..head_dim {
                    let x = wide(row[h * head_dim + p]);
                    let mut acc = wide(self.d[h]) * x;
                    for k in 0..n {
                        let b = wide(row[heads * head_dim + g * n + k]);
                        let c = wide(row[heads * head_dim + (groups + g) * n + k]);
                        let held = &mut s[(h * n + k) * head_dim + p];
                        *held = *held * da + dt * x * b;
                        acc += *held * c;
                    }
                    y[(t * heads + h) * head_dim + p] = acc;
                }
            }
        }
        (y, s)
    }

    fn run(&self, tier: CpuTier, pool: &Pool, split: &[usize]) -> Vec<f32> {
        let (conv, heads) = (self.shape.conv_dim(), self.shape.heads);
        let w = SsmWeights { a: &self.a, d: &self.d, dt_bias: &self.dt_bias };
        let (mut state, mut out, mut done) = (self.state.clone(), Vec::new(), 0);
        for n in split {
            let xbc = Rows::part(&self.xbc[done * (conv + 3)..(done + n) * (conv + 3)], conv + 3, 3, conv);
            let dt = Rows::part(&self.dt[done * (heads + 2)..(done + n) * (heads + 2)], heads + 2, 1, heads);
            let mut y = vec![f32::NAN; n * self.shape.inner()];
            let mut segments = Segment::whole(*n, &mut state[..]);
            ssm_scan(tier, pool, &self.shape, w, xbc, dt, &mut segments, &mut y).unwrap();
            out.extend(y);
            done += n;
        }
        [out, state].concat()
    }
}

#[test]
fn scan_agrees_with_f64_and_any_split_gives_the_same_bits() {
    let mut rng = Rng(21);
    for (heads, head_dim, n, groups) in
        [(1, 16, 1, 1), (3, 48, 33, 1), (4, 64, 128, 2), (5, 80, 17, 1), (2, 32, 32, 1)]
    {
        let case = Scan::new(&mut rng, heads, head_dim, n, groups);
        let (y, state) = case.reference();
        let size = [vec![(n as f64).sqrt() + 1.0; y.len()], vec![1.0; state.len()]].concat();
        let want = [y, state].concat();
        for tier in tiers() {
            let whole = same_on_any_threads("scan", |pool| case.run(tier, pool, SPLITS[0]));
            assert_close(&format!("scan {heads}x{head_dim}x{n} {}", tier.name()), &whole, &want, &size, 3e-6);
            for split in SPLITS {
                assert_eq!(
                    bits(&whole),
                    bits(&case.run(tier, &Pool::new(2), split)),
                    "{split:?} {}",
                    tier.name()
                );
            }
        }
    }
}

#[test]
fn scan_refuses_shapes_that_do_not_fit() {
    let mut rng = Rng(22);
    let case = Scan::new(&mut rng, 2, 16, 4, 1);
    let w = SsmWeights { a: &case.a, d: &case.d, dt_bias: &case.dt_bias };
    let conv = case.shape.conv_dim();
    let (xbc, dt) = (vec![0.0; conv], vec![0.0; 2]);
    let call = |shape: SsmShape, w: SsmWeights, state: usize, y: usize| {
        let (xbc, dt) = (Rows::new(&xbc, conv), Rows::new(&dt, 2));
        ssm_scan(
            CpuTier::detect(),
            &Pool::new(1),
            &shape,
            w,
            xbc,
            dt,
            &mut Segment::whole(1, &mut vec![0.0; state][..]),
            &mut vec![0.0; y],
        )
    };
    assert!(call(case.shape, w, 2 * 16 * 4, 32).is_ok());
    assert!(call(SsmShape { head_dim: 17, ..case.shape }, w, 128, 32).is_err());
    assert!(call(SsmShape { groups: 3, ..case.shape }, w, 128, 32).is_err());
    assert!(call(case.shape, SsmWeights { d: &[1.0], ..w }, 128, 32).is_err());
    assert!(call(case.shape, w, 127, 32).is_err());
    assert!(call(case.shape, w, 128, 31).is_err());
}

#[test]
fn sequences_scanned_in_one_call_get_the_bits_that_they_get_alone() {
    let mut rng = Rng(23);
    let case = Scan::new(&mut rng, 4, 32, 16, 2);
    let (conv, heads, di) = (case.shape.conv_dim(), case.shape.heads, case.shape.inner());
    let w = SsmWeights { a: &case.a, d: &case.d, dt_bias: &case.dt_bias };
    let taps = ConvWeights::new(&rng.vec(conv * 4, 1.0), &rng.vec(conv, 1.0)).unwrap();
    let cuts = [0, 1, 2, 2, 19, 23];
    let states: Vec<Vec<f32>> = cuts[1..].iter().map(|_| rng.vec(case.shape.state_len(), 1.0)).collect();
    let windows: Vec<Vec<f32>> = cuts[1..].iter().map(|_| rng.vec(3 * conv, 1.0)).collect();
    let run = |tier: CpuTier, pool: &Pool, which: std::ops::Range<usize>| {
        let rows = cuts[which.start]..cuts[which.end];
        let xbc = Rows::part(&case.xbc, conv + 3, 3, conv).rows(rows.clone());
        let dt = Rows::part(&case.dt, heads + 2, 1, heads).rows(rows.clone());
        let (mut states, mut windows) = (states[which.clone()].to_vec(), windows[which.clone()].to_vec());
        let at = |i: usize| cuts[which.start + i] - rows.start..cuts[which.start + i + 1] - rows.start;
        let (mut mixed, mut y) = (vec![0.0; rows.len() * conv], vec![0.0; rows.len() * di]);
        let mut segments: Vec<_> =
            windows.iter_mut().enumerate().map(|(i, s)| Segment { rows: at(i), state: &mut s[..] }).collect();
        conv_silu(tier, pool, &taps, xbc, &mut segments, &mut mixed).unwrap();
        let mut segments: Vec<_> =
            states.iter_mut().enumerate().map(|(i, s)| Segment { rows: at(i), state: &mut s[..] }).collect();
        ssm_scan(tier, pool, &case.shape, w, xbc, dt, &mut segments, &mut y).unwrap();
        (mixed, y, states.concat(), windows.concat())
    };
    for tier in tiers() {
        let together = run(tier, &Pool::new(2), 0..5);
        let mut alone = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for i in 0..5 {
            let (mixed, y, states, windows) = run(tier, &Pool::new(1), i..i + 1);
            alone.0.extend(mixed);
            alone.1.extend(y);
            alone.2.extend(states);
            alone.3.extend(windows);
        }
        assert_eq!(together, alone, "{}", tier.name());
    }
}

#[test]
fn segments_must_cover_the_rows_in_order() {
    let ok = |cuts: &[std::ops::Range<usize>], m| {
        let segments: Vec<_> = cuts.iter().map(|rows| Segment { rows: rows.clone(), state: () }).collect();
        super::super::segments::check_segments(&segments, m).is_ok()
    };
    assert!(ok(&[0..2, 2..2, 2..5], 5) && ok(&[], 0));
    assert!(!ok(&[0..2, 3..5], 5) && !ok(&[0..2, 1..5], 5) && !ok(&[0..2, 2..3], 5) && !ok(&[2..5, 0..2], 5));
}
