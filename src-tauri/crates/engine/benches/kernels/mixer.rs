//! The kernels between the products, at the starter's and the flagship's shapes: `cargo bench -p chimera-engine --bench kernels -- scan`.
//!
//! One thread, the best tier; `CHIMERA_CPU=avx2` forces another. A name says what is measured, then the rows of the call; a
//! decode step is one row.
use crate::noise;
use chimera_engine::kernels::*;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use std::hint::black_box;

const ROWS: [usize; 2] = [1, 128];

fn tier() -> CpuTier {
    let named = std::env::var("CHIMERA_CPU").ok().and_then(|name| CpuTier::from_name(&name));
    named.unwrap_or_else(CpuTier::detect).or_supported()
}

fn shape(heads: usize) -> SsmShape {
    SsmShape { heads, head_dim: 64, state: 128, groups: 1 }
}

fn scan(c: &mut Criterion) {
    let (tier, pool) = (tier(), Pool::new(1));
    let mut group = c.benchmark_group("scan");
    for (heads, m) in [24, 40].into_iter().flat_map(|heads| ROWS.map(|m| (heads, m))) {
        let shape = shape(heads);
        let (xbc, dt) = (noise(m * shape.conv_dim()), noise(m * heads));
        let (a, ones) = (vec![-1.0; heads], vec![1.0; heads]);
        let w = SsmWeights { a: &a, d: &ones, dt_bias: &ones };
        let (mut state, mut y) = (vec![0.0; shape.state_len()], vec![0.0; m * shape.inner()]);
        group.throughput(Throughput::Elements(m as u64));
        group.bench_function(BenchmarkId::new(format!("{heads} heads"), m), |b| {
            b.iter(|| {
                let (xbc, dt) = (Rows::new(&xbc, shape.conv_dim()), Rows::new(&dt, heads));
                let mut segments = Segment::whole(m, &mut state[..]);
                ssm_scan(tier, &pool, &shape, w, xbc, dt, &mut segments, black_box(&mut y)).expect("shapes")
            })
        });
    }
}

fn convolution(c: &mut Criterion) {
    let (tier, pool) = (tier(), Pool::new(1));
    let mut group = c.benchmark_group("convolution");
    for m in ROWS {
        let dim = shape(24).conv_dim();
        let w = ConvWeights::new(&noise(dim * CONV_WIDTH), &noise(dim)).expect("four taps");
        let (x, mut state, mut out) = (noise(m * dim), vec![0.0; CONV_STATE * dim], vec![0.0; m * dim]);
        group.throughput(Throughput::Elements(m as u64));
        group.bench_function(BenchmarkId::from_parameter(m), |b| {
            b.iter(|| {
                let mut segments = Segment::whole(m, &mut state[..]);
                conv_silu(tier, &pool, &w, Rows::new(&x, dim), &mut segments, black_box(&mut out))
                    .expect("shapes")
            })
        });
    }
}

fn attend(c: &mut Criterion) {
    let (tier, pool, kv_heads, head_dim) = (tier(), Pool::new(1), 4, 64);
    let mut group = c.benchmark_group("attention");
    for (kind, heads) in [(KvType::F16, 12), (KvType::Q8, 12), (KvType::F16, 20)] {
        for (depth, m) in [256, 4096].into_iter().flat_map(|depth| ROWS.map(|m| (depth, m))) {
            let kv = noise(depth * kv_heads * head_dim);
            let mut cache = KvCache::new(kind, kv_heads, head_dim).expect("a legal head size");
            cache.append(&kv, &kv).expect("shapes that fit");
            let (q, mut out) = (noise(m * heads * head_dim), vec![0.0; m * heads * head_dim]);
            group.throughput(Throughput::Elements(m as u64));
            group.bench_function(BenchmarkId::new(format!("{kind:?} {heads} heads at {depth}"), m), |b| {
                b.iter(|| {
                    let segments = Segment::whole(m, &cache);
                    attention(tier, &pool, &q, heads, &segments, 0.125, black_box(&mut out)).expect("shapes")
                })
            });
        }
    }
}

fn norms(c: &mut Criterion) {
    let (tier, pool) = (tier(), Pool::new(1));
    let mut group = c.benchmark_group("norm");
    for m in ROWS {
        let (di, d) = (shape(24).inner(), 768);
        let (y, z, weight, mut out) = (noise(m * di), noise(m * di), noise(di), vec![0.0; m * di]);
        group.throughput(Throughput::Elements(m as u64));
        group.bench_function(BenchmarkId::new("gated", m), |b| {
            b.iter(|| {
                gated_rms_norm(tier, &pool, &y, Rows::new(&z, di), &weight, 1, 1e-5, black_box(&mut out))
            })
        });
        group.bench_function(BenchmarkId::new("plain", m), |b| {
            b.iter(|| rms_norm(tier, &pool, &y[..m * d], &weight[..d], 1e-5, black_box(&mut out[..m * d])))
        });
    }
}

criterion_group!(mixer, scan, convolution, attend, norms);
