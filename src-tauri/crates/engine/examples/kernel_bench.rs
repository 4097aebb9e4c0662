//! Rates of the kernels on this machine: `cargo run --release --example kernel_bench -p chimera-engine [tier ...]`.
//!
//! m = 1 is measured on weights that rotate over at least 256 MB (decode is never cache-hot; "hot" is one matrix again and
//! again) and printed as GB/s of packed bytes, m > 1 as GFLOP/s. One thread is timed by the CPU time it got, where the
//! system tells it, so that a loaded machine spoils little; more threads by the wall, which only a quiet machine makes true.
use chimera_engine::kernels::*;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Seconds of CPU that this thread has had (Linux).
fn cpu_seconds() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(text.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}

/// Seconds of one call, over calls for 0.2 s of the caller's CPU time.
fn seconds(threads: usize, mut f: impl FnMut()) -> f64 {
    let warm = Instant::now();
    f();
    // Reading the clock takes microseconds: do it once in about a millisecond.
    let batch = (0.001 / warm.elapsed().as_secs_f64()).clamp(1.0, 1000.0) as u32;
    if threads == 1
        && let Some(begin) = cpu_seconds()
    {
        for batches in 1u32.. {
            (0..batch).for_each(|_| f());
            let spent = cpu_seconds().unwrap_or(f64::NAN) - begin;
            if spent > 0.2 {
                return spent / f64::from(batches * batch);
            }
        }
    }
    wall_seconds(f)
}

/// The 20th percentile of the calls that fit in 0.3 s (at least five): a neighbour's time slices fall out of it.
fn wall_seconds(mut f: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < 5 || begin.elapsed() < Duration::from_millis(300) {
        let start = Instant::now();
        f();
        times.push(start.elapsed());
    }
    times.sort();
    times[times.len() / 5].as_secs_f64()
}

fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// Bytes whose f16 scales are small and finite.
fn weights(dtype: WeightType, rows: usize, cols: usize) -> Vec<u8> {
    let bytes = rows * dtype.row_bytes(cols);
    (0..bytes).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 & 0x2f).collect()
}

fn products(tier: CpuTier, dtype: WeightType, rows: usize, cols: usize) {
    let source = weights(dtype, rows, cols);
    for threads in threads() {
        let pool = Pool::new(threads);
        let pack = || PackedMatrix::pack(dtype, rows, cols, &source, tier, &pool).expect("a legal shape");
        let one = pack();
        let copies = (256_000_000 / one.bytes()).max(1);
        let rotated: Vec<PackedMatrix> = (0..copies).map(|_| pack()).collect();
        let mut act = Activation::new();
        let mut line = format!("{:<11}{dtype:?} {rows}x{cols} t={threads}:", tier.name());
        act.begin(1, cols).copy_from_slice(&noise(cols));
        act.quantize(tier, &pool);
        let mut out = vec![0.0; rows];
        let mut turn = 0;
        let each = seconds(threads, || {
            turn += 1;
            matmul(&pool, &rotated[turn % copies], &act, black_box(&mut out)).expect("shapes that fit");
        });
        line += &format!("  m=1 {:7.1} µs {:5.1} GB/s", each * 1e6, one.bytes() as f64 / each / 1e9);
        let hot =
            seconds(threads, || matmul(&pool, &one, &act, black_box(&mut out)).expect("shapes that fit"));
        line += &format!(" (hot {:5.1})", one.bytes() as f64 / hot / 1e9);
        for m in [64, 512] {
            act.begin(m, cols).copy_from_slice(&noise(m * cols));
            act.quantize(tier, &pool);
            let mut out = vec![0.0; m * rows];
            let t =
                seconds(threads, || matmul(&pool, &one, &act, black_box(&mut out)).expect("shapes that fit"));
            line += &format!("  m={m} {:6.1} GFLOP/s", 2.0 * (m * rows * cols) as f64 / t / 1e9);
        }
        println!("{line}");
    }
}

/// The starter's Mamba layer and attention layer, without their products.
fn mixers(tier: CpuTier) {
    let shape = SsmShape { heads: 24, head_dim: 64, state: 128, groups: 1 };
    let (conv, di, d) = (shape.conv_dim(), shape.inner(), 768);
    let (taps, ones) = (noise(conv * 4), vec![1.0; 24]);
    let w = ConvWeights::new(&taps, &noise(conv)).expect("four taps");
    let a = vec![-1.0; 24];
    let ssm = SsmWeights { a: &a, d: &ones, dt_bias: &ones };
    for threads in threads() {
        let pool = Pool::new(threads);
        for m in [1usize, 128] {
            let (x, dt) = (noise(m * conv), noise(m * 24));
            let mut line = format!("{:<11}t={threads} m={m} (µs a token):", tier.name());
            let mut report = |what: &str, t: f64| line += &format!("  {what} {:.2}", t * 1e6 / m as f64);
            let (mut conv_state, mut out) = (vec![0.0; 3 * conv], vec![0.0; m * conv]);
            report(
                "conv",
                seconds(threads, || {
                    conv_silu(
                        tier,
                        &pool,
                        &w,
                        Rows::new(&x, conv),
                        &mut Segment::whole(m, &mut conv_state[..]),
                        &mut out,
                    )
                    .expect("shapes")
                }),
            );
            let (mut state, mut y) = (vec![0.0; shape.state_len()], vec![0.0; m * di]);
            let (xbc, dt) = (Rows::new(&out, conv), Rows::new(&dt, 24));
            let scan = || {
                ssm_scan(tier, &pool, &shape, ssm, xbc, dt, &mut Segment::whole(m, &mut state[..]), &mut y)
                    .expect("shapes")
            };
            report("scan", seconds(threads, scan));
            let (z, weight) = (noise(m * di), vec![1.0; di]);
            let mut normed = vec![0.0; m * di];
            let z = Rows::new(&z, di);
            report(
                "gated norm",
                seconds(threads, || gated_rms_norm(tier, &pool, &y, z, &weight, 1, 1e-5, &mut normed)),
            );
            let x = noise(m * d);
            let mut normed = vec![0.0; m * d];
            report(
                "rms norm",
                seconds(threads, || rms_norm(tier, &pool, &x, &weight[..d], 1e-5, &mut normed)),
            );
            let (gate, mut mixed) = (noise(m * 1536), vec![0.0; m * 1536]);
            report("silu·up", seconds(threads, || silu_mul(tier, &pool, &gate, &gate, &mut mixed)));
            let mut act = Activation::new();
            act.begin(m, d).copy_from_slice(&x);
            report("quantize 768", seconds(threads, || act.quantize(tier, &pool)));
            for depth in [256usize, 4096] {
                let mut cache = KvCache::new(KvType::F16, 4, 64).expect("a legal head size");
                let kv = noise(depth * 256);
                cache.append(&kv, &kv).expect("shapes that fit");
                let (q, mut out) = (noise(m * d), vec![0.0; m * d]);
                let run = || {
                    attention(tier, &pool, &q, 12, &Segment::whole(m, &cache), 0.125, &mut out)
                        .expect("shapes that fit")
                };
                report(&format!("attention@{depth}"), seconds(threads, run));
            }
            println!("{line}");
        }
    }
}

/// One thread and two; `BENCH_THREADS=1` for one alone.
fn threads() -> Vec<usize> {
    match std::env::var("BENCH_THREADS") {
        Ok(list) => list.split(',').filter_map(|n| n.parse().ok()).collect(),
        Err(_) => vec![1, 2],
    }
}

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    let chosen =
        CpuTier::available().into_iter().filter(|t| names.is_empty() || names.iter().any(|n| n == t.name()));
    for tier in chosen {
        products(tier, WeightType::Q4_0, 4096, 1024);
        products(tier, WeightType::Q4_0, 3352, 768);
        products(tier, WeightType::Q8_0, 4096, 1024);
        products(tier, WeightType::Q6K, 32768, 768);
        products(tier, WeightType::F16, 4096, 1024);
        products(tier, WeightType::F32, 4096, 1024);
        mixers(tier);
    }
}
