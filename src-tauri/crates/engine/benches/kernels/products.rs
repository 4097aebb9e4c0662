//! Rates of the products of every weight type on every tier: `cargo bench -p chimera-engine --bench kernels -- avx2/Q4K`.
//!
//! m = 1 rotates over at least 256 MB of weights (decode is never cache-hot) and reads as bytes of weights a second; m > 1
//! reads as multiply-adds a second. Criterion times by the wall: only a quiet machine makes its numbers true.
use crate::noise;
use chimera_engine::kernels::{Activation, CpuTier, PackedMatrix, Pool, WeightType, matmul};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use std::hint::black_box;

const TYPES: [WeightType; 11] = [
    WeightType::F32,
    WeightType::F16,
    WeightType::Bf16,
    WeightType::Q4_0,
    WeightType::Q4_1,
    WeightType::Q5_0,
    WeightType::Q5_1,
    WeightType::Q8_0,
    WeightType::Q4K,
    WeightType::Q5K,
    WeightType::Q6K,
];
const ROWS: usize = 4096;
const COLS: usize = 1024;

/// `copies` of a matrix; bytes whose f16 scales are small and finite.
fn packed(dtype: WeightType, tier: CpuTier, pool: &Pool, copies: usize) -> Vec<PackedMatrix> {
    let bytes = ROWS * dtype.row_bytes(COLS);
    let source: Vec<u8> = (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 & 0x2f).collect();
    let pack = |_| PackedMatrix::pack(dtype, ROWS, COLS, &source, tier, pool).expect("a legal shape");
    (0..copies).map(pack).collect()
}

/// What one benchmark needs, made when it is first run (others may be filtered out).
struct Case {
    weights: Vec<PackedMatrix>,
    act: Activation,
    out: Vec<f32>,
    turn: usize,
}

impl Case {
    fn new(dtype: WeightType, tier: CpuTier, pool: &Pool, m: usize) -> Case {
        let copies = if m == 1 { 256_000_000usize.div_ceil(ROWS * dtype.row_bytes(COLS)) } else { 1 };
        let mut act = Activation::new();
        act.begin(m, COLS).copy_from_slice(&noise(m * COLS));
        act.quantize(tier, pool);
        Case { weights: packed(dtype, tier, pool, copies), act, out: vec![0.0; m * ROWS], turn: 0 }
    }

    fn product(&mut self, pool: &Pool) {
        self.turn = (self.turn + 1) % self.weights.len();
        matmul(pool, &self.weights[self.turn], &self.act, black_box(&mut self.out)).expect("shapes that fit");
    }
}

fn each_product(c: &mut Criterion) {
    // One thread unless `BENCH_THREADS` says otherwise.
    let threads = std::env::var("BENCH_THREADS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let pool = Pool::new(threads);
    for tier in CpuTier::available() {
        for dtype in TYPES {
            let mut group = c.benchmark_group(format!("{}/{dtype:?}", tier.name()));
            group.sample_size(20);
            for m in [1, 8, 64, 512] {
                group.throughput(match m {
                    1 => Throughput::Bytes((ROWS * dtype.row_bytes(COLS)) as u64),
                    _ => Throughput::Elements((m * ROWS * COLS) as u64),
                });
                let mut case = None;
                group.bench_function(BenchmarkId::from_parameter(format!("m={m}")), |b| {
                    let case = case.get_or_insert_with(|| Case::new(dtype, tier, &pool, m));
                    b.iter(|| case.product(&pool));
                });
            }
        }
    }
}

criterion_group!(products, each_product);
