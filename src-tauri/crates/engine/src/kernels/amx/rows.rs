//! Activations as tiles of bf16: `[m/16][k/32]` tiles of 16 rows × 32 values, each in one piece (rows that are 2·k bytes apart
//! would share a few sets of the cache). Rows that m lacks to a whole tile are zeros.
use super::super::Pool;
use super::super::activation::BLOCK;
use super::super::simd::LANES;
use super::widen::{Body, Widen, enter};
use super::{Line, TILE_LINES};

/// Kept with the activation, made by the first product that wants it.
#[derive(Default)]
pub(in crate::kernels) struct Bf16Rows {
    is_made: bool,
    lines: Vec<Line>,
}

impl Bf16Rows {
    /// The values are about to change.
    pub(in crate::kernels) fn forget(&mut self) {
        self.is_made = false;
    }

    /// The tiles of `values [m, k]`.
    pub(super) fn of(&mut self, values: &[f32], k: usize, pool: &Pool) -> &[Line] {
        if !self.is_made {
            let strip = k / BLOCK * TILE_LINES;
            self.lines.resize((values.len() / k).div_ceil(TILE_LINES) * strip, Line::ZERO);
            pool.run_mut(&mut self.lines, strip, |i, lines| {
                let rows = i * TILE_LINES * k..values.len().min((i + 1) * TILE_LINES * k);
                enter(Strip { values: &values[rows], k, lines });
            });
            self.is_made = true;
        }
        &self.lines
    }
}

/// Up to 16 rows.
struct Strip<'a> {
    values: &'a [f32],
    k: usize,
    lines: &'a mut [Line],
}

impl Body for Strip<'_> {
    #[inline(always)]
    fn run<S: Widen>(self, s: S) {
        let (tiles, _) = self.lines.as_chunks_mut::<TILE_LINES>();
        for (i, row) in self.values.chunks_exact(self.k).enumerate() {
            let (blocks, _) = row.as_chunks::<LANES>().0.as_chunks::<2>();
            for (block, tile) in blocks.iter().zip(tiles.iter_mut()) {
                tile[i] = s.row(s.load(&block[0]), s.load(&block[1]));
            }
        }
        for i in self.values.len() / self.k..TILE_LINES {
            tiles.iter_mut().for_each(|tile| tile[i] = Line::ZERO);
        }
    }
}
