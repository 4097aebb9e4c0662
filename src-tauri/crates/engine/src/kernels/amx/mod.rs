//! Products of many rows on the tile registers (AMX): bf16 in, f32 out, 16×16×32 multiplications an instruction.
//!
//! The packed weights are those of the other tiers. A pair of panels (32 weight rows, all of k) is unpacked to bf16 tiles in a
//! buffer of the thread, which stays in L2 while the activations' tiles go by in blocks of 32 rows: two by two tiles, so that
//! four loads feed four multiplications. An accumulator keeps its sum over all of k and is stored once, into the output itself.
//! Between multiplications the next pair is unpacked into a second buffer.
//!
//! # Numerics
//! Weights and activations are rounded to bf16 (2⁻⁹ of each at most) and their products summed in f32; the int8 products of
//! the other tiers round activations to 2⁻⁸ of a block's largest instead. So *this tier has two kinds of bits*: products of
//! fewer than [`MIN_ROWS`] rows go the way of AVX-512 VNNI. Within either kind a row's bits do not depend on the rows
//! beside it, on their number, or on the threads; across that line they do.
//!
//! # Why not int8 tiles
//! They multiply twice as fast, but a scale for every 32 k wants the integer sums out of the registers after each instruction:
//! 16 rows of store, load, convert, scale and add (40 cycles or more) for 8 cycles of multiplying, where bf16 takes 16 in all.
use super::pool::Disjoint;
use super::simd::LANES;
use super::{Activation, PackedMatrix, Pool, WeightType};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::Range;
use tiles::{Hardware, Tiles};
use widen::{Body, Widen, enter};

#[cfg(test)]
pub(super) mod emulated;
mod rows;
pub(super) mod tiles;
mod unpack;
mod widen;

pub(super) use rows::Bf16Rows;

/// Fewer rows go the way of AVX-512 VNNI: unpacking takes as long as about ten rows do there.
pub(super) const MIN_ROWS: usize = 16;
/// Rows of a tile.
pub(super) const TILE_LINES: usize = 16;
/// k of a tile.
const TILE_K: usize = 32;
/// Activation tiles that go by before the next panels are unpacked: as many as leave room for the rest in an L2 of 2 MiB.
const STRIP_LINES: usize = (768 << 10) / size_of::<Line>();

/// A row of a tile: 32 bf16.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u16; 32]);

type Tile = [Line; TILE_LINES];

impl Line {
    pub(super) const ZERO: Line = Line([0; 32]);
}

/// Whether this CPU and system have tiles (in this module's tests they are emulated where there are none).
pub(super) fn is_supported() -> bool {
    tiles::available() || cfg!(test)
}

/// Whether the tiles are real.
pub(super) fn is_native() -> bool {
    tiles::available()
}

/// Whether a product of `m` rows is made here.
pub(super) fn takes(w: &PackedMatrix, m: usize) -> bool {
    m >= MIN_ROWS && has_tiles_of(w.dtype()) && is_supported()
}

pub(super) fn has_tiles_of(dtype: WeightType) -> bool {
    unpack::takes(dtype)
}

/// `out [m, rows] = act [m, k] · w [rows, k]^T`; the lengths have been checked.
pub(super) fn multiply(pool: &Pool, w: &PackedMatrix, act: &Activation, out: &mut [f32]) {
    #[cfg(test)]
    if !tiles::available() {
        return multiply_on::<emulated::Emulated>(pool, w, act, out);
    }
    multiply_on::<Hardware>(pool, w, act, out);
}

fn multiply_on<T: Tiles>(pool: &Pool, w: &PackedMatrix, act: &Activation, out: &mut [f32]) {
    let mut rows = act.bf16_rows();
    let lines = rows.of(act.values(), act.k(), pool);
    let job = Job { w, lines, m: act.m(), steps: act.k() / TILE_K, out: Disjoint::new(out) };
    let step = super::matmul::panels_per_chunk(w.panels(), pool.threads());
    pool.run(w.panels().div_ceil(step), |chunk| {
        let panels = chunk * step..w.panels().min((chunk + 1) * step);
        enter(Sweep::<T> { job: &job, panels, tiles: PhantomData });
    });
}

struct Job<'a> {
    w: &'a PackedMatrix,
    /// The activations' tiles, `[m/16][k/32]`.
    lines: &'a [Line],
    m: usize,
    /// Tiles along k.
    steps: usize,
    out: Disjoint<'a, f32>,
}

thread_local! {
    /// The tiles of two pairs of panels: one that is multiplied, and the next, which is unpacked meanwhile.
    static WEIGHTS: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
}

/// Some panels against all rows.
struct Sweep<'a, T> {
    job: &'a Job<'a>,
    panels: Range<usize>,
    tiles: PhantomData<T>,
}

impl<T: Tiles> Body for Sweep<'_, T> {
    #[inline(always)]
    fn run<S: Widen>(self, s: S) {
        let lines = 4 * self.job.steps * TILE_LINES;
        // Taken and given back: inside a closure the lanes' instructions would lose their features (see `simd`).
        let mut weights = WEIGHTS.take();
        if weights.len() < lines {
            weights.resize(lines, Line::ZERO);
        }
        // SAFETY: `multiply` chose T by what is available, and this is the only value on the thread.
        let mut tiles = unsafe { T::configure() };
        self.sweep(s, &mut tiles, weights[..lines].as_chunks_mut().0);
        WEIGHTS.set(weights);
    }
}

/// A pair of panels (or the last one alone) that is being unpacked, a tile at a time between multiplications: those keep the
/// tile unit busy and the vector units free.
struct Unpacking<'a> {
    dtype: WeightType,
    panels: [&'a [u8]; 2],
    is_pair: bool,
    left: Range<usize>,
    steps: usize,
    to: &'a mut [Tile],
}

impl Unpacking<'_> {
    #[inline(always)]
    fn step<S: Widen>(&mut self, s: S) {
        if let Some(tile) = self.left.next() {
            let (panel, k) = if self.is_pair { (tile % 2, tile / 2) } else { (0, tile) };
            unpack::tile(s, self.dtype, self.panels[panel], k, &mut self.to[panel * self.steps + k]);
        }
    }
}

impl<T: Tiles> Sweep<'_, T> {
    #[inline(always)]
    fn sweep<S: Widen>(&self, s: S, tiles: &mut T, weights: &mut [Tile]) {
        let (mut now, mut next) = weights.split_at_mut(2 * self.job.steps);
        let strips = self.job.m.div_ceil(TILE_LINES);
        let block = (STRIP_LINES / (self.job.steps * TILE_LINES)).next_multiple_of(2).max(8);
        let pairs = self.panels.len().div_ceil(2);
        let turns = strips.div_ceil(block) * pairs;
        self.finish(s, self.unpacking(0, now));
        for turn in 0..turns {
            let (start, panel) = (turn / pairs * block, self.panels.start + turn % pairs * 2);
            let rows = start..strips.min(start + block);
            let mut ahead = self.unpacking((turn + 1) % pairs, next);
            if turn + 1 == turns {
                ahead.left = 0..0;
            }
            match self.panels.end - panel {
                1 => self.rows::<S, 1>(s, tiles, now, panel, rows, &mut ahead),
                _ => self.rows::<S, 2>(s, tiles, now, panel, rows, &mut ahead),
            }
            self.finish(s, ahead);
            std::mem::swap(&mut now, &mut next);
        }
    }

    fn unpacking<'a>(&'a self, pair: usize, to: &'a mut [Tile]) -> Unpacking<'a> {
        let (w, steps) = (self.job.w, self.job.steps);
        let first = self.panels.start + 2 * pair;
        let last = (first + 1).min(self.panels.end - 1);
        Unpacking {
            dtype: w.dtype(),
            panels: [w.panel(first), w.panel(last)],
            is_pair: last > first,
            left: 0..(last - first + 1) * steps,
            steps,
            to,
        }
    }

    #[inline(always)]
    fn finish<S: Widen>(&self, s: S, mut unpacking: Unpacking) {
        while !unpacking.left.is_empty() {
            unpacking.step(s);
        }
    }

    /// NB panels with the strips of 16 activation rows.
    #[inline(always)]
    fn rows<S: Widen, const NB: usize>(
        &self,
        s: S,
        tiles: &mut T,
        weights: &[Tile],
        panel: usize,
        strips: Range<usize>,
        ahead: &mut Unpacking,
    ) {
        let mut strip = strips.start;
        while strip + 2 <= strips.end {
            self.block::<S, 2, NB>(s, tiles, weights, panel, strip, ahead);
            strip += 2;
        }
        if strip < strips.end {
            self.block::<S, 1, NB>(s, tiles, weights, panel, strip, ahead);
        }
    }

    #[inline(always)]
    fn block<S: Widen, const NA: usize, const NB: usize>(
        &self,
        s: S,
        tiles: &mut T,
        weights: &[Tile],
        panel: usize,
        strip: usize,
        ahead: &mut Unpacking,
    ) {
        let (lines, steps) = (self.job.lines.as_chunks().0, self.job.steps);
        let a: [&[Tile]; NA] = std::array::from_fn(|i| &lines[(strip + i) * steps..][..steps]);
        let b: [&[Tile]; NB] = std::array::from_fn(|i| &weights[i * steps..][..steps]);
        accumulate(s, tiles, a, b, ahead);
        self.store::<0>(tiles, strip, panel);
        if NB == 2 {
            self.store::<1>(tiles, strip, panel + 1);
        }
        if NA == 2 {
            self.store::<2>(tiles, strip + 1, panel);
        }
        if NA == 2 && NB == 2 {
            self.store::<3>(tiles, strip + 1, panel + 1);
        }
    }

    /// The accumulator of 16 activation rows and a panel, or what there is of them.
    #[inline(always)]
    fn store<const C: usize>(&self, tiles: &mut T, strip: usize, panel: usize) {
        let rows = self.job.w.rows();
        let (row, column) = (strip * TILE_LINES, panel * LANES);
        let (height, width) = (TILE_LINES.min(self.job.m - row), LANES.min(rows - column));
        if height == TILE_LINES && width == LANES {
            let to = self.job.out.pointer(row * rows + column, (TILE_LINES - 1) * rows + LANES);
            // SAFETY: inside the output (asserted); these columns belong to this chunk alone.
            return unsafe { tiles.store::<C>(to, rows) };
        }
        let mut whole = [[0.0; LANES]; TILE_LINES];
        // SAFETY: the array is sixteen rows of sixteen.
        unsafe { tiles.store::<C>(whole.as_mut_ptr().cast(), LANES) };
        for (i, from) in whole[..height].iter().enumerate() {
            // SAFETY: these columns belong to this chunk alone, and only this slice of them is live.
            let to = unsafe { self.job.out.slice((row + i) * rows + column, width) };
            to.copy_from_slice(&from[..width]);
        }
    }
}

/// Accumulators 0 to 3 over all of k: `[activations][weights]`.
#[inline(always)]
fn accumulate<S: Widen, T: Tiles, const NA: usize, const NB: usize>(
    s: S,
    tiles: &mut T,
    a: [&[Tile]; NA],
    b: [&[Tile]; NB],
    ahead: &mut Unpacking,
) {
    tiles.zero::<0>();
    tiles.zero::<1>();
    tiles.zero::<2>();
    tiles.zero::<3>();
    for k in 0..a[0].len() {
        tiles.load::<6>(&b[0][k]);
        tiles.load::<4>(&a[0][k]);
        tiles.dot::<0, 4, 6>();
        if NB == 2 {
            tiles.load::<7>(&b[1][k]);
            tiles.dot::<1, 4, 7>();
        }
        if NA == 2 {
            tiles.load::<5>(&a[1][k]);
            tiles.dot::<2, 5, 6>();
        }
        if NA == 2 && NB == 2 {
            tiles.dot::<3, 5, 7>();
        }
        ahead.step(s);
    }
}
