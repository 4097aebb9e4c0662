//! Q4_0: 32 values share one f16 scale; 4 bits a value, offset 8.
use super::{push_f16, signed_max};

/// d = signed max / −8, so the largest value lands exactly on −8 and the grid is [−8, 7]·d.
/// Byte j holds value j in its low and value j + 16 in its high nibble.
pub fn encode(block: &[f32; 32], out: &mut Vec<u8>) {
    let d = signed_max(block) / -8.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    push_f16(out, d);
    let (low, high) = block.split_at(16);
    out.extend(low.iter().zip(high).map(|(&l, &h)| nibble(l * inverse) | (nibble(h * inverse) << 4)));
}

/// ggml's `MIN(15, (int8_t)(x + 8.5f))`: truncation of a value that is never negative is rounding half up.
fn nibble(x: f32) -> u8 {
    ((x + 8.5) as u8).min(15)
}
