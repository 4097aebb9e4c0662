//! Q8_0: 32 values share one f16 scale; a signed byte a value.
use super::{push_f16, signed_max};

/// d = max|x| / 127; `roundf` rounds halves away from zero, and so does `f32::round`.
pub fn encode(block: &[f32; 32], out: &mut Vec<u8>) {
    let d = signed_max(block).abs() / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    push_f16(out, d);
    out.extend(block.iter().map(|&x| ((x * inverse).round() as i8).cast_unsigned()));
}
