//! Q6_K: 256 values = 16 groups of 16; 6 bits a value, an i8 scale a group, one f16 scale of scales.
//!
//! Layout of a block (210 bytes): ql[128] low nibbles, qh[64] high bit pairs, scales[16], d.
use super::{push_f16, signed_max};

const GROUP: usize = 16;
/// Quants run over [−32, 31].
const HALF_RANGE: i32 = 32;
/// ggml's `GROUP_MAX_EPS`: below it a group counts as zero.
const EPSILON: f32 = 1e-15;

pub fn encode(block: &[f32; 256], out: &mut Vec<u8>) {
    let (groups, _) = block.as_chunks::<GROUP>();
    let mut quants = [0_u8; 256];
    let mut scales = [0_f32; 16];
    for ((group, scale), quants) in groups.iter().zip(&mut scales).zip(quants.as_chunks_mut().0) {
        *scale = best_scale(group, quants);
    }
    let largest = signed_max(&scales);
    if largest.abs() < EPSILON {
        out.extend_from_slice(&[0; 210]);
        return;
    }
    let inverse = -128.0 / largest;
    let d = half::f16::from_f32(1.0 / inverse).to_f32();
    let coded = scales.map(|scale| nearest(inverse * scale).min(127) as i8);
    for ((group, &scale), quants) in groups.iter().zip(&coded).zip(quants.as_chunks_mut::<GROUP>().0) {
        requantize(group, d * f32::from(scale), quants);
    }
    pack(&quants, out);
    out.extend(coded.map(i8::cast_unsigned));
    push_f16(out, 1.0 / inverse);
}

/// Quants for the scale as it will be read back; a zero scale leaves those of the search.
fn requantize(group: &[f32; GROUP], scale: f32, quants: &mut [u8; GROUP]) {
    if scale != 0.0 {
        *quants = group.map(|x| code(nearest(x / scale)));
    }
}

/// `make_qx_quants(16, 32, x, L, 1, NULL)`: the scale s that minimises Σ x²·(x − s·l)² over 19 starting grids.
fn best_scale(group: &[f32; GROUP], quants: &mut [u8; GROUP]) -> f32 {
    let max = signed_max(group);
    if max.abs() < EPSILON {
        return 0.0;
    }
    let inverse = -(HALF_RANGE as f32) / max;
    *quants = group.map(|x| code(nearest(inverse * x)));
    let (sum_lx, sum_l2) = fit(group, inverse);
    let mut scale = if sum_l2 == 0.0 { 0.0 } else { sum_lx / sum_l2 };
    let mut best = scale * sum_lx;
    for step in (-9_i32..=9).filter(|&step| step != 0) {
        let inverse = -(HALF_RANGE as f32 + 0.1 * step as f32) / max;
        let (sum_lx, sum_l2) = fit(group, inverse);
        if sum_l2 > 0.0 && sum_lx * sum_lx > best * sum_l2 {
            *quants = group.map(|x| code(nearest(inverse * x)));
            scale = sum_lx / sum_l2;
            best = scale * sum_lx;
        }
    }
    scale
}

/// (Σ w·x·l, Σ w·l²) with w = x² and l the clamped quant of x on this grid.
fn fit(group: &[f32; GROUP], inverse: f32) -> (f32, f32) {
    group.iter().fold((0.0, 0.0), |(lx, l2), &x| {
        let l = clamp(nearest(inverse * x)) as f32;
        let w = x * x;
        (lx + w * x * l, l2 + w * l * l)
    })
}

fn clamp(quant: i32) -> i32 {
    quant.clamp(-HALF_RANGE, HALF_RANGE - 1)
}

fn code(quant: i32) -> u8 {
    (clamp(quant) + HALF_RANGE) as u8
}

/// ggml's `nearest_int` adds 1.5·2²³ and reads the mantissa: halves go to even.
fn nearest(x: f32) -> i32 {
    x.round_ties_even() as i32
}

/// Each half of 128 quants: low nibbles of (l, l+64) and (l+32, l+96) share bytes, the top bit pairs of all four share one.
fn pack(quants: &[u8; 256], out: &mut Vec<u8>) {
    let (halves, _) = quants.as_chunks::<128>();
    for half in halves {
        let (low, high) = half.split_at(64);
        out.extend(low.iter().zip(high).map(|(&l, &h)| (l & 15) | ((h & 15) << 4)));
    }
    for half in halves {
        let (a, rest) = half.split_at(32);
        let (b, rest) = rest.split_at(32);
        let (c, d) = rest.split_at(32);
        let pairs = a.iter().zip(b).zip(c.iter().zip(d));
        out.extend(
            pairs.map(|((a, b), (c, d))| (a >> 4) | ((b >> 4) << 2) | ((c >> 4) << 4) | ((d >> 4) << 6)),
        );
    }
}
