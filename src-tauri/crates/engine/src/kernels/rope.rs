//! Rotary positions, GGUF's NORM type: adjacent pairs (2j, 2j+1) turn by `pos · inv_freq[j]`.
use super::error::check_len;
use super::segments::check_segments;
use super::{KernelError, Pool, Segment};

/// `[positions][n_rot/2]` pairs of (cos, sin), both times the magnitude; computed in f64.
pub struct RopeTable {
    pairs: usize,
    turns: Vec<(f32, f32)>,
}

impl RopeTable {
    /// `inv_freq[j]` is what position times gives the angle, after scaling (linear, YaRN, LongRoPE) is worked in.
    pub fn new(inv_freq: &[f64], magnitude: f64, positions: usize) -> RopeTable {
        let turn = |pos: usize, f: f64| {
            let (sin, cos) = (pos as f64 * f).sin_cos();
            ((cos * magnitude) as f32, (sin * magnitude) as f32)
        };
        let turns = (0..positions).flat_map(|pos| inv_freq.iter().map(move |f| turn(pos, *f))).collect();
        RopeTable { pairs: inv_freq.len(), turns }
    }

    pub fn positions(&self) -> usize {
        self.turns.len() / self.pairs.max(1)
    }

    #[inline]
    fn at(&self, pos: usize) -> &[(f32, f32)] {
        &self.turns[pos * self.pairs..(pos + 1) * self.pairs]
    }
}

/// Turns the first `2 · inv_freq.len()` values of every head of `x [m, heads, head_dim]`; row i of a segment is at position `state + i`.
pub fn rope_norm(
    pool: &Pool,
    table: &RopeTable,
    x: &mut [f32],
    head_dim: usize,
    heads: usize,
    segments: &[Segment<usize>],
) -> Result<(), KernelError> {
    let width = heads * head_dim;
    if table.pairs * 2 > head_dim || width == 0 {
        return Err(KernelError::HeadDim { head_dim, multiple: table.pairs * 2 });
    }
    let rows = x.len() / width;
    check_len("rope rows", rows * width, x.len())?;
    check_segments(segments, rows)?;
    let end = segments.iter().map(|s| s.state + s.rows.len()).max().unwrap_or(0);
    if end > table.positions() {
        return Err(KernelError::Length { what: "rope positions", expected: end, actual: table.positions() });
    }
    let positions: Vec<usize> = segments.iter().flat_map(|s| s.state..s.state + s.rows.len()).collect();
    const ROWS: usize = 8;
    pool.run_mut(x, ROWS * width, |chunk, x| {
        for (i, row) in x.chunks_exact_mut(width).enumerate() {
            let turns = table.at(positions[chunk * ROWS + i]);
            for head in row.chunks_exact_mut(head_dim) {
                for ([a, b], (cos, sin)) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns) {
                    (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                }
            }
        }
    });
    Ok(())
}
