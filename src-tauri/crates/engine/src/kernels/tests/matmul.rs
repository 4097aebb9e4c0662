//! Quantized products on every tier against f64 on the dequantized weights.
use super::super::{Activation, CpuTier, KernelError, PackedMatrix, Pool, WeightType, matmul};
use super::{Rng, assert_close, bits, same_on_any_threads, tiers};
use half::{bf16, f16};

pub(super) const TYPES: [WeightType; 11] = [
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

/// Weights in a block, its bytes, and where in it its f16 scales are (d, then m or dmin).
fn layout(dtype: WeightType) -> (usize, usize, &'static [usize]) {
    match dtype {
        WeightType::Q4_0 => (32, 18, &[0]),
        WeightType::Q4_1 => (32, 20, &[0, 2]),
        WeightType::Q5_0 => (32, 22, &[0]),
        WeightType::Q5_1 => (32, 24, &[0, 2]),
        WeightType::Q8_0 => (32, 34, &[0]),
        WeightType::Q4K => (256, 144, &[0, 2]),
        WeightType::Q5K => (256, 176, &[0, 2]),
        WeightType::Q6K => (256, 210, &[208]),
        WeightType::F32 | WeightType::F16 | WeightType::Bf16 => unreachable!("has no blocks"),
    }
}

/// Random ggml bytes of one row. Quantized blocks get arbitrary quants and scales that are plain numbers.
fn random_row(rng: &mut Rng, dtype: WeightType, cols: usize) -> Vec<u8> {
    match dtype {
        WeightType::F32 => (0..cols).flat_map(|_| rng.unit().to_le_bytes()).collect(),
        WeightType::F16 => (0..cols).flat_map(|_| f16::from_f32(rng.unit()).to_le_bytes()).collect(),
        WeightType::Bf16 => (0..cols).flat_map(|_| bf16::from_f32(rng.unit()).to_le_bytes()).collect(),
        _ => {
            let (_, bytes, scales) = layout(dtype);
            let mut row: Vec<u8> = (0..dtype.row_bytes(cols)).map(|_| rng.next() as u8).collect();
            for block in row.chunks_exact_mut(bytes) {
                for at in scales {
                    block[*at..at + 2].copy_from_slice(&f16::from_f32(rng.unit() * 0.05).to_le_bytes());
                }
            }
            row
        }
    }
}

fn half(b: &[u8]) -> f32 {
    f16::from_le_bytes([b[0], b[1]]).to_f32()
}

/// ggml's own dequantization, written from its definition.
fn dequantize(dtype: WeightType, row: &[u8]) -> Vec<f32> {
    let blocks = |f: fn(&[u8]) -> Vec<f32>| row.chunks_exact(layout(dtype).1).flat_map(f).collect();
    match dtype {
        WeightType::F32 => row.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        WeightType::F16 => row.chunks_exact(2).map(half).collect(),
        WeightType::Bf16 => row.as_chunks().0.iter().map(|b| bf16::from_le_bytes(*b).to_f32()).collect(),
        WeightType::Q4_0 => blocks(|b| dequantize_block(half(b), -8.0 * half(b), None, &b[2..])),
        WeightType::Q4_1 => blocks(|b| dequantize_block(half(b), half(&b[2..]), None, &b[4..])),
        WeightType::Q5_0 => blocks(|b| dequantize_block(half(b), -16.0 * half(b), Some(&b[2..6]), &b[6..])),
        WeightType::Q5_1 => blocks(|b| dequantize_block(half(b), half(&b[2..]), Some(&b[4..8]), &b[8..])),
        WeightType::Q8_0 => blocks(|b| b[2..].iter().map(|q| f32::from(*q as i8) * half(b)).collect()),
        WeightType::Q4K => blocks(|b| dequantize_k_block(b, None, &b[16..])),
        WeightType::Q5K => blocks(|b| dequantize_k_block(b, Some(&b[16..48]), &b[48..])),
        WeightType::Q6K => blocks(|b| dequantize_q6_k_block(b).to_vec()),
    }
}

/// `dequantize_row_q4_0`, `_q4_1`, `_q5_0` and `_q5_1` of ggml-quants.c: d·q + m, with the fifth bits in `qh`.
fn dequantize_block(d: f32, m: f32, qh: Option<&[u8]>, qs: &[u8]) -> Vec<f32> {
    let fifth = |i: usize| qh.map_or(0, |qh| qh[i / 8] >> (i % 8) & 1) << 4;
    let low = (0..16).map(|i| qs[i] & 15 | fifth(i));
    let high = (0..16).map(|i| qs[i] >> 4 | fifth(i + 16));
    low.chain(high).map(|q| d * f32::from(q) + m).collect()
}

/// `dequantize_row_q4_K` and `dequantize_row_q5_K` of ggml-quants.c, line by line.
fn dequantize_k_block(block: &[u8], qh: Option<&[u8]>, qs: &[u8]) -> Vec<f32> {
    let (d, min, scales) = (half(block), half(&block[2..]), &block[4..16]);
    let get_scale_min_k4 = |j: usize| {
        if j < 4 {
            return (scales[j] & 63, scales[j + 4] & 63);
        }
        let (low, sc, m) = (scales[j + 4], scales[j - 4] >> 6, scales[j] >> 6);
        ((low & 0xF) | (sc << 4), (low >> 4) | (m << 4))
    };
    let mut y = Vec::new();
    let (mut u1, mut u2) = (1u8, 2u8);
    for (is, ql) in qs.chunks_exact(32).enumerate() {
        let fifth = |l: usize, u: u8| qh.map_or(0, |qh| if qh[l] & u != 0 { 16 } else { 0 });
        let (sc, m) = get_scale_min_k4(2 * is);
        let (d1, m1) = (d * f32::from(sc), min * f32::from(m));
        let (sc, m) = get_scale_min_k4(2 * is + 1);
        let (d2, m2) = (d * f32::from(sc), min * f32::from(m));
        y.extend((0..32).map(|l| d1 * f32::from((ql[l] & 0xF) + fifth(l, u1)) - m1));
        y.extend((0..32).map(|l| d2 * f32::from((ql[l] >> 4) + fifth(l, u2)) - m2));
        (u1, u2) = (u1 << 2, u2 << 2);
    }
    y
}

/// `dequantize_row_q6_K` of ggml-quants.c, line by line.
fn dequantize_q6_k_block(block: &[u8]) -> [f32; 256] {
    let d = f16::from_le_bytes([block[208], block[209]]).to_f32();
    let mut y = [0.0; 256];
    for n in 0..2 {
        let (ql, qh, sc) = (&block[n * 64..], &block[128 + n * 32..], &block[192 + n * 8..]);
        for l in 0..32 {
            let is = l / 16;
            let q1 = i32::from((ql[l] & 15) | ((qh[l] & 3) << 4)) - 32;
            let q2 = i32::from((ql[l + 32] & 15) | (((qh[l] >> 2) & 3) << 4)) - 32;
            let q3 = i32::from((ql[l] >> 4) | (((qh[l] >> 4) & 3) << 4)) - 32;
            let q4 = i32::from((ql[l + 32] >> 4) | (((qh[l] >> 6) & 3) << 4)) - 32;
            for (part, q) in [q1, q2, q3, q4].into_iter().enumerate() {
                let scale = sc[is + 2 * part] as i8;
                y[n * 128 + part * 32 + l] = d * f32::from(scale) * q as f32;
            }
        }
    }
    y
}

pub(super) struct Case {
    pub(super) dtype: WeightType,
    pub(super) rows: usize,
    pub(super) cols: usize,
    source: Vec<u8>,
    pub(super) weights: Vec<f32>,
}

impl Case {
    pub(super) fn new(rng: &mut Rng, dtype: WeightType, rows: usize, cols: usize) -> Case {
        let source: Vec<u8> = (0..rows).flat_map(|_| random_row(rng, dtype, cols)).collect();
        let weights = source.chunks_exact(dtype.row_bytes(cols)).flat_map(|r| dequantize(dtype, r)).collect();
        Case { dtype, rows, cols, source, weights }
    }

    pub(super) fn pack(&self, tier: CpuTier) -> PackedMatrix {
        PackedMatrix::pack(self.dtype, self.rows, self.cols, &self.source, tier, &Pool::new(1)).unwrap()
    }

    pub(super) fn product(&self, tier: CpuTier, x: &[f32], pool: &Pool) -> Vec<f32> {
        let mut act = Activation::new();
        let m = x.len() / self.cols;
        act.begin(m, self.cols).copy_from_slice(x);
        act.quantize(tier, pool);
        let mut out = vec![f32::NAN; m * self.rows];
        matmul(pool, &self.pack(tier), &act, &mut out).unwrap();
        out
    }

    /// The product and Σ|w·x|, in f64, with the activations that the kernel sees.
    fn reference(&self, tier: CpuTier, x: &[f32]) -> (Vec<f64>, Vec<f64>) {
        let least = least_rows(tier, self.dtype);
        if least > 1 && x.len() / self.cols >= least {
            return self.dots(x.iter().map(|v| bf16::from_f32(*v).to_f64()).collect(), bf16_ties_away);
        }
        let x = if self.dtype.is_quantized() { int8(x) } else { x.iter().map(|v| f64::from(*v)).collect() };
        self.dots(x, f64::from)
    }

    fn dots(&self, x: Vec<f64>, weight: impl Fn(f32) -> f64) -> (Vec<f64>, Vec<f64>) {
        let weights: Vec<f64> = self.weights.iter().map(|w| weight(*w)).collect();
        let dot = |x: &[f64], w: &[f64]| {
            x.iter().zip(w).map(|(x, w)| x * w).fold((0.0, 0.0), |(s, a), v: f64| (s + v, a + v.abs()))
        };
        x.chunks_exact(self.cols)
            .flat_map(|x| weights.chunks_exact(self.cols).map(move |w| dot(x, w)))
            .unzip()
    }
}

/// Blocks of 32 rounded to 8 bits, as `Activation` documents it.
fn int8(x: &[f32]) -> Vec<f64> {
    x.chunks_exact(32)
        .flat_map(|block| {
            let largest = block.iter().fold(0.0f32, |a, v| a.max(v.abs()));
            let inverse = if largest == 0.0 { 0.0 } else { 127.0 / largest };
            block.iter().map(move |v| f64::from((v * inverse).round_ties_even()) * f64::from(largest / 127.0))
        })
        .collect()
}

/// As `amx` rounds weights.
fn bf16_ties_away(w: f32) -> f64 {
    f64::from(f32::from_bits((w.to_bits() + 0x8000) & 0xffff_0000))
}

/// Products of at least so many rows of this type are multiplied as any larger number of rows.
pub(super) fn least_rows(tier: CpuTier, dtype: WeightType) -> usize {
    #[cfg(target_arch = "x86_64")]
    if tier == CpuTier::Amx && super::super::amx::has_tiles_of(dtype) {
        return super::super::amx::MIN_ROWS;
    }
    let _ = (tier, dtype);
    1
}

/// Column counts that are legal for the type, odd ones first.
fn columns(dtype: WeightType) -> &'static [usize] {
    match dtype {
        WeightType::Q4K | WeightType::Q5K | WeightType::Q6K => &[256, 768],
        _ => &[32, 96, 160, 768],
    }
}

#[test]
fn dequantized_rows_are_ggmls() {
    let mut rng = Rng(1);
    for dtype in TYPES {
        for &cols in columns(dtype) {
            let case = Case::new(&mut rng, dtype, 21, cols);
            let packed = case.pack(CpuTier::detect());
            for (r, want) in case.weights.chunks_exact(cols).enumerate() {
                let mut row = vec![0.0; cols];
                packed.dequantize_row(r, &mut row).unwrap();
                let close = row.iter().zip(want).all(|(a, b)| (a - b).abs() <= b.abs() * 2e-7);
                assert!(close, "{dtype:?} row {r} of {cols}");
            }
        }
    }
}

#[test]
fn products_agree_with_f64_on_every_tier_and_odd_size() {
    let mut rng = Rng(2);
    for dtype in TYPES {
        for &cols in columns(dtype) {
            for rows in [1, 16, 24, 40, 67] {
                let case = Case::new(&mut rng, dtype, rows, cols);
                for m in [1, 2, 3, 7, 13, 33, 70] {
                    let x = rng.vec(m * cols, 3.0);
                    for tier in tiers() {
                        let (want, size) = case.reference(tier, &x);
                        let got = case.product(tier, &x, &Pool::new(2));
                        let what = format!("{dtype:?} {rows}x{cols} m={m} {}", tier.name());
                        assert_close(&what, &got, &want, &size, 2e-6);
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others_and_on_any_threads() {
    let mut rng = Rng(3);
    for dtype in TYPES {
        let case = Case::new(&mut rng, dtype, 120, 512);
        let x = rng.vec(19 * 512, 1.0);
        for tier in tiers() {
            let all = same_on_any_threads(&format!("{dtype:?} {}", tier.name()), |pool| {
                case.product(tier, &x, pool)
            });
            // Alone, or among the fewest that are multiplied in the same way.
            let few = least_rows(tier, dtype) * 512;
            for i in 0..19 {
                let x: Vec<f32> = x.iter().cycle().skip(i * 512).take(few).copied().collect();
                let alone = case.product(tier, &x, &Pool::new(1));
                assert_eq!(
                    bits(&alone[..120]),
                    bits(&all[i * 120..(i + 1) * 120]),
                    "{dtype:?} {} row {i}",
                    tier.name()
                );
            }
        }
    }
}

#[test]
fn extreme_quants_do_not_overflow() {
    for dtype in TYPES.into_iter().filter(|t| t.is_quantized()) {
        for fill in [0x00u8, 0x7f, 0x80, 0xff] {
            let mut source = vec![fill; 24 * dtype.row_bytes(512)];
            let (_, bytes, scales) = layout(dtype);
            for block in source.chunks_exact_mut(bytes) {
                for at in scales {
                    block[*at..at + 2].copy_from_slice(&f16::ONE.to_le_bytes());
                }
            }
            let weights =
                source.chunks_exact(dtype.row_bytes(512)).flat_map(|r| dequantize(dtype, r)).collect();
            let case = Case { dtype, rows: 24, cols: 512, source, weights };
            for sign in [1.0, -1.0] {
                let x = vec![sign; 7 * 512];
                for tier in tiers() {
                    let (want, size) = case.reference(tier, &x);
                    let got = case.product(tier, &x, &Pool::new(1));
                    assert_close(&format!("{dtype:?} {fill:#x} {}", tier.name()), &got, &want, &size, 2e-6);
                }
            }
        }
    }
}

#[test]
fn zero_and_huge_activations_are_exact_or_finite() {
    let mut rng = Rng(4);
    let case = Case::new(&mut rng, WeightType::Q4_0, 24, 96);
    for tier in tiers() {
        assert!(case.product(tier, &[0.0; 96], &Pool::new(1)).iter().all(|v| *v == 0.0));
        assert!(case.product(tier, &[1e30; 96], &Pool::new(1)).iter().all(|v| v.is_finite()));
    }
}

#[test]
fn quantized_activations_have_the_same_bits_on_every_tier() {
    let mut rng = Rng(5);
    let x = rng.vec(5 * 96, 2.0);
    let of = |tier| {
        let mut act = Activation::new();
        act.begin(2, 256).fill(1.0);
        act.quantize(tier, &Pool::new(1));
        act.begin(5, 96).copy_from_slice(&x);
        act.quantize(tier, &Pool::new(2));
        let row = |i| {
            let row = act.int8(i);
            let bytes = row.quads.as_flattened().iter().flat_map(|q| q.to_ne_bytes());
            let quants: Vec<i8> = bytes.map(|b| b as i8).collect();
            (quants, bits(row.scales.as_flattened()), row.offsets_q4.concat(), row.offsets_q6.concat())
        };
        (0..5).map(row).collect::<Vec<_>>()
    };
    let plain = of(CpuTier::Portable);
    assert!(tiers().into_iter().all(|tier| of(tier) == plain));
    let sums = |q: &[i8], n, times| {
        q.chunks_exact(n).map(|c| times * c.iter().map(|v| i32::from(*v)).sum::<i32>()).collect::<Vec<i32>>()
    };
    for (i, (quants, scales, q4, q6)) in plain.iter().enumerate() {
        for (k, want) in int8(&x[i * 96..(i + 1) * 96]).iter().enumerate() {
            assert_eq!(f64::from(quants[k]) * f64::from(f32::from_bits(scales[k / 32])), *want);
        }
        assert_eq!((&sums(quants, 32, -8), &sums(quants, 16, -32)), (q4, q6));
        assert!(quants[96..].iter().all(|q| *q == 0), "padding");
    }
}

#[test]
fn a_packed_matrix_takes_the_bytes_that_it_has_in_the_file() {
    let pool = Pool::new(2);
    for dtype in TYPES {
        let source = vec![0; 64 * dtype.row_bytes(512)];
        let packed = PackedMatrix::pack(dtype, 64, 512, &source, CpuTier::detect(), &pool).unwrap();
        assert_eq!(packed.bytes(), source.len(), "{dtype:?}");
    }
}

#[test]
fn packing_in_bands_gives_back_the_whole_source_in_order() {
    let (rows, cols) = (4096 + 5, 4096);
    let source = vec![7; rows * WeightType::Q4_0.row_bytes(cols)];
    let given_back = std::sync::Mutex::new(Vec::new());
    let done = |part: &[u8]| given_back.lock().unwrap().push((part.as_ptr() as usize, part.len()));
    let (pool, tier) = (Pool::new(2), CpuTier::detect());
    let packed =
        PackedMatrix::pack_in_bands(WeightType::Q4_0, rows, cols, &source, tier, &pool, &done).unwrap();
    let parts = given_back.into_inner().unwrap();
    assert!(parts.len() > 1 && parts.iter().all(|(_, len)| *len <= 8 << 20));
    let end = parts.iter().fold(source.as_ptr() as usize, |at, (start, len)| {
        assert_eq!(at, *start);
        at + len
    });
    assert_eq!(end, source.as_ptr() as usize + source.len());
    let want = dequantize(WeightType::Q4_0, &source[..WeightType::Q4_0.row_bytes(cols)]);
    for row in [0, 3000, rows - 1] {
        let mut got = vec![0.0; cols];
        packed.dequantize_row(row, &mut got).unwrap();
        assert_eq!(got, want, "row {row}");
    }
}

#[test]
fn wrong_shapes_are_errors() {
    let pool = Pool::new(1);
    let pack = |dtype, rows, cols, len| {
        PackedMatrix::pack(dtype, rows, cols, &vec![0; len], CpuTier::Portable, &pool).map(|_| ())
    };
    assert!(matches!(pack(WeightType::Q4_0, 2, 33, 36), Err(KernelError::Columns { multiple: 32, .. })));
    assert!(matches!(pack(WeightType::Q6K, 1, 32, 26), Err(KernelError::Columns { multiple: 256, .. })));
    assert!(matches!(pack(WeightType::Q4_0, 2, 32, 35), Err(KernelError::Bytes { expected: 36, .. })));
    assert!(matches!(pack(WeightType::F32, usize::MAX, 32, 1), Err(KernelError::Bytes { .. })));
    assert!(matches!(pack(WeightType::F32, 0, 32, 0), Err(KernelError::Empty { .. })));
    let w = PackedMatrix::pack(WeightType::Q4_0, 2, 32, &[0; 36], CpuTier::Portable, &pool).unwrap();
    assert!(matches!(w.dequantize_row(2, &mut [0.0; 32]), Err(KernelError::Row { .. })));
    assert!(matches!(w.dequantize_row(1, &mut [0.0; 31]), Err(KernelError::Length { .. })));
    let mut act = Activation::new();
    act.begin(1, 32).fill(1.0);
    assert_eq!(matmul(&pool, &w, &act, &mut [0.0; 2]), Err(KernelError::NotQuantized));
    act.quantize(CpuTier::Portable, &pool);
    assert!(matmul(&pool, &w, &act, &mut [0.0; 3]).is_err());
    assert!(matmul(&pool, &w, &act, &mut [0.0; 2]).is_ok());
    act.begin(1, 64);
    assert!(matmul(&pool, &w, &act, &mut [0.0; 2]).is_err());
}

#[test]
fn matrices_of_one_pool_keep_apart_and_outlive_it() {
    let mut rng = Rng(6);
    let pool = Pool::new(2);
    let cases: Vec<Case> =
        (0..40).map(|i| Case::new(&mut rng, TYPES[i % TYPES.len()], 1 + i * 7, 256)).collect();
    let pack =
        |c: &Case| PackedMatrix::pack(c.dtype, c.rows, c.cols, &c.source, CpuTier::detect(), &pool).unwrap();
    let packed: Vec<PackedMatrix> = cases.iter().map(pack).collect();
    drop(pool);
    for (case, packed) in cases.iter().zip(&packed) {
        for (r, want) in case.weights.chunks_exact(256).enumerate() {
            let mut row = vec![0.0; 256];
            packed.dequantize_row(r, &mut row).unwrap();
            assert!(
                row.iter().zip(want).all(|(a, b)| (a - b).abs() <= b.abs() * 2e-7),
                "{:?} row {r}",
                case.dtype
            );
        }
    }
}
