//! Causal attention of the newest positions over [`KvCache`]s, grouped query heads, softmax in one pass.
//!
//! The query rows of one KV head (tokens times heads of the group) are taken in tiles that share every loaded key and value.
//! Positions go in spans of 64 that start at multiples of 64, between which the running maximum moves; spans go in stretches of
//! 512 whose results are joined in order. A row's sums run in this one order however rows are tiled and stretches are shared out
//! to threads: neither the number of threads, nor the cutting of a prompt, nor what else is in the call changes a bit.
mod products;

use super::elementwise::Columns;
use super::error::check_len;
use super::kv::{Element, HeadStore, KvCache, Store};
use super::pool::Disjoint;
use super::segments::check_segments;
use super::simd::{Kernel, LANES, Simd, dispatch};
use super::{CpuTier, KernelError, Pool, Segment};
use products::{Span, TILE_ROWS, add_values, scores, softmax_step, weigh, widen};
use std::ops::Range;

/// Positions between two updates of the running maximum.
const SPAN: usize = 64;
/// Positions between two joins; what one thread takes of a long context when there are fewer tiles than threads want.
const STRETCH: usize = 8 * SPAN;
/// Query rows of a tile: enough that turning keys and values into f32 once costs a twentieth.
const ROWS: usize = 24;

/// `q [m, heads, head_dim]` (turned by RoPE) against the cache of each segment, whose last positions are those of the segment's
/// n rows; `out` has q's shape. Row i of a segment sees positions `0 ..= len - n + i`. Query head h uses KV head h / (heads / kv_heads).
pub fn attention(
    tier: CpuTier,
    pool: &Pool,
    q: &[f32],
    heads: usize,
    segments: &[Segment<&KvCache>],
    scale: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    let Some((head_dim, kv_heads)) = segments.first().map(|s| (s.state.head_dim, s.state.kv_heads())) else {
        return check_len("queries", 0, q.len());
    };
    if kv_heads == 0 || heads == 0 || !heads.is_multiple_of(kv_heads) {
        return Err(KernelError::Groups { heads, groups: kv_heads });
    }
    let m = q.len() / (heads * head_dim);
    check_len("queries", m * heads * head_dim, q.len())?;
    check_len("attention output", q.len(), out.len())?;
    check_segments(segments, m)?;
    for Segment { rows, state: cache } in segments {
        check_len("head size of a cache", head_dim, cache.head_dim)?;
        check_len("heads of a cache", kv_heads, cache.kv_heads())?;
        if rows.len() > cache.len() {
            let (expected, actual) = (rows.len(), cache.len());
            return Err(KernelError::Length { what: "positions in the cache", expected, actual });
        }
    }
    let out = Columns::new(out, heads * head_dim);
    let call = Call { tier, q, heads, kv_heads, head_dim, scale, segments, out: &out };
    let tiles = call.tiles();
    if tiles.len() < 2 * pool.threads() {
        call.run_stretches(pool, &tiles);
    } else {
        pool.run(tiles.len(), |i| call.run_tile(&tiles[i]));
    }
    Ok(())
}

struct Call<'a> {
    tier: CpuTier,
    q: &'a [f32],
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    scale: f32,
    segments: &'a [Segment<&'a KvCache>],
    out: &'a Columns<'a>,
}

/// Query rows `rows` of one KV head of one segment; row r of them is token r / group, head r % group.
struct Tile {
    segment: usize,
    kv: usize,
    rows: Range<usize>,
}

/// What a tile's rows have summed up: `acc [rows][head_dim]` relative to `largest`, and the partial sums of the weights.
struct Sums {
    acc: Vec<f32>,
    largest: Vec<f32>,
    total: Vec<[f32; LANES]>,
}

impl Sums {
    fn new(rows: usize, head_dim: usize) -> Sums {
        Sums {
            acc: vec![0.0; rows * head_dim],
            largest: vec![f32::NEG_INFINITY; rows],
            total: vec![[0.0; LANES]; rows],
        }
    }
}

impl Call<'_> {
    fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    fn tiles(&self) -> Vec<Tile> {
        let mut tiles = Vec::new();
        for (segment, Segment { rows, .. }) in self.segments.iter().enumerate() {
            let count = rows.len() * self.group();
            for kv in 0..self.kv_heads {
                let starts = (0..count).step_by(ROWS);
                tiles.extend(starts.map(|at| Tile { segment, kv, rows: at..count.min(at + ROWS) }));
            }
        }
        tiles
    }

    /// Positions that row `row` of the tile's KV head sees.
    fn seen(&self, tile: &Tile, row: usize) -> usize {
        let Segment { rows, state } = &self.segments[tile.segment];
        state.len() - rows.len() + row / self.group() + 1
    }

    /// Positions that the last row of the tile sees.
    fn depth(&self, tile: &Tile) -> usize {
        self.seen(tile, tile.rows.end - 1)
    }

    /// (row of the call, head) of a row of the tile's KV head.
    fn place(&self, tile: &Tile, row: usize) -> (usize, usize) {
        (
            self.segments[tile.segment].rows.start + row / self.group(),
            tile.kv * self.group() + row % self.group(),
        )
    }

    fn run_tile(&self, tile: &Tile) {
        let mut sums = Sums::new(tile.rows.len(), self.head_dim);
        for start in (0..self.depth(tile)).step_by(STRETCH) {
            self.join(tile, start, &mut sums, &self.stretch(tile, start));
        }
        self.finish(tile, &sums);
    }

    /// The stretches of all tiles in parallel, then their joins.
    fn run_stretches(&self, pool: &Pool, tiles: &[Tile]) {
        let stretches = |tile: &Tile| self.depth(tile).div_ceil(STRETCH);
        let jobs: Vec<_> =
            tiles.iter().flat_map(|t| (0..stretches(t)).map(move |i| (t, i * STRETCH))).collect();
        let mut parts: Vec<Option<Sums>> = jobs.iter().map(|_| None).collect();
        let slots = Disjoint::new(&mut parts);
        pool.run(jobs.len(), |job| {
            let (tile, start) = jobs[job];
            // SAFETY: each job takes its own slot.
            let slot = unsafe { slots.slice(job, 1) };
            slot[0] = Some(self.stretch(tile, start));
        });
        let mut parts = parts.iter().flatten();
        for tile in tiles {
            let mut sums = Sums::new(tile.rows.len(), self.head_dim);
            for (i, part) in parts.by_ref().take(stretches(tile)).enumerate() {
                self.join(tile, i * STRETCH, &mut sums, part);
            }
            self.finish(tile, &sums);
        }
    }

    /// Attention of a tile over the positions of one stretch alone.
    fn stretch(&self, tile: &Tile, start: usize) -> Sums {
        let mut sums = Sums::new(tile.rows.len(), self.head_dim);
        match &self.segments[tile.segment].state.store {
            Store::F32(stores) => self.stretch_of(tile, &stores[tile.kv], start, &mut sums),
            Store::F16(stores) => self.stretch_of(tile, &stores[tile.kv], start, &mut sums),
            Store::Q8(stores) => self.stretch_of(tile, &stores[tile.kv], start, &mut sums),
        }
        sums
    }

    fn stretch_of<T: Element>(&self, tile: &Tile, store: &HeadStore<T>, start: usize, sums: &mut Sums) {
        dispatch(self.tier, Stretch { call: self, tile, store, start, sums });
    }

    /// Adds what a stretch gave to what those before it gave: both relative to the larger maximum.
    fn join(&self, tile: &Tile, start: usize, sums: &mut Sums, part: &Sums) {
        let hd = self.head_dim;
        for r in (0..tile.rows.len()).filter(|r| self.seen(tile, tile.rows.start + r) > start) {
            let largest = sums.largest[r].max(part.largest[r]);
            let (old, new) = ((sums.largest[r] - largest).exp(), (part.largest[r] - largest).exp());
            sums.largest[r] = largest;
            sums.total[r].iter_mut().zip(&part.total[r]).for_each(|(a, b)| *a = *a * old + b * new);
            let part = &part.acc[r * hd..][..hd];
            sums.acc[r * hd..][..hd].iter_mut().zip(part).for_each(|(a, b)| *a = *a * old + b * new);
        }
    }

    fn finish(&self, tile: &Tile, sums: &Sums) {
        let hd = self.head_dim;
        for (r, row) in tile.rows.clone().enumerate() {
            let (at, head) = self.place(tile, row);
            let total: f32 = sums.total[r].iter().sum();
            // SAFETY: this row and head belong to this tile, and no other slice of them is live.
            let out = unsafe { self.out.slice(at, head * hd, hd) };
            out.iter_mut().zip(&sums.acc[r * hd..]).for_each(|(out, v)| *out = v / total);
        }
    }
}

struct Stretch<'a, T> {
    call: &'a Call<'a>,
    tile: &'a Tile,
    store: &'a HeadStore<T>,
    start: usize,
    sums: &'a mut Sums,
}

impl<T: Element> Kernel for Stretch<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (hd, rows) = (self.call.head_dim, self.tile.rows.len());
        let end = self.call.depth(self.tile).min(self.start + STRETCH);
        let mut p = vec![[0.0; SPAN]; rows];
        // More than one register tile of rows: widened once, read several times.
        let wide = T::NARROW && rows > TILE_ROWS;
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        if wide {
            (keys, values) = (vec![0.0; SPAN * hd], vec![0.0; SPAN * hd]);
        }
        for at in (self.start..end).step_by(SPAN) {
            let count = SPAN.min(end - at);
            let padded = at * hd..(at + count.next_multiple_of(LANES)) * hd;
            let span = Span {
                keys: &self.store.keys[padded.clone()],
                values: &self.store.values[padded.clone()],
                key_scales: self.store.key_scales.get(at..at + count.next_multiple_of(LANES)),
                value_scales: self.store.value_scales.get(at..at + count.next_multiple_of(LANES)),
                head_dim: hd,
                count,
            };
            if wide {
                let (keys, values) = (&mut keys[..padded.len()], &mut values[..padded.len()]);
                widen(s, span.keys, keys);
                widen(s, span.values, values);
                let Span { key_scales, value_scales, .. } = span;
                let span = Span { keys, values, key_scales, value_scales, head_dim: hd, count };
                self.rows(s, at, &span, &mut p);
            } else {
                self.rows(s, at, &span, &mut p);
            }
        }
    }
}

impl<T: Element> Stretch<'_, T> {
    /// All rows of the tile over one span.
    #[inline(always)]
    fn rows<S: Simd, U: Element>(&mut self, s: S, at: usize, span: &Span<U>, p: &mut [[f32; SPAN]]) {
        let rows = self.tile.rows.len();
        let mut r = 0;
        while r + TILE_ROWS <= rows {
            self.some_rows::<S, U, TILE_ROWS>(s, at, span, r, p);
            r += TILE_ROWS;
        }
        // What is left of a large tile is rare: fewer sizes to compile.
        while !U::NARROW && r + 2 <= rows {
            self.some_rows::<S, U, 2>(s, at, span, r, p);
            r += 2;
        }
        match rows - r {
            1 => self.some_rows::<S, U, 1>(s, at, span, r, p),
            2 if U::NARROW => self.some_rows::<S, U, 2>(s, at, span, r, p),
            3 if U::NARROW => self.some_rows::<S, U, 3>(s, at, span, r, p),
            4 if U::NARROW => self.some_rows::<S, U, 4>(s, at, span, r, p),
            5 if U::NARROW => self.some_rows::<S, U, 5>(s, at, span, r, p),
            _ => {}
        }
    }

    /// Rows first .. first + R of the tile.
    #[inline(always)]
    fn some_rows<S: Simd, U: Element, const R: usize>(
        &mut self,
        s: S,
        at: usize,
        span: &Span<U>,
        first: usize,
        p: &mut [[f32; SPAN]],
    ) {
        let (call, hd) = (self.call, span.head_dim);
        let p = &mut p[first..first + R];
        let mut q: [&[f32]; R] = [&[]; R];
        let mut seen = [0; R];
        for r in 0..R {
            let row = self.tile.rows.start + first + r;
            let (token, head) = call.place(self.tile, row);
            q[r] = &call.q[(token * call.heads + head) * hd..][..hd];
            seen[r] = call.seen(self.tile, row).saturating_sub(at).min(span.count);
        }
        scores::<S, U, R>(s, span, &q, call.scale, p);
        let mut shrink = [1.0; R];
        for r in 0..R {
            if seen[r] == 0 {
                p[r].fill(0.0);
                continue;
            }
            let (largest, total) = (&mut self.sums.largest[first + r], &mut self.sums.total[first + r]);
            shrink[r] = softmax_step(s, &mut p[r], seen[r], largest, total);
            if let Some(scales) = span.value_scales {
                weigh(s, &mut p[r], scales);
            }
        }
        add_values::<S, U, R>(s, span, p, &shrink, &mut self.sums.acc[first * hd..(first + R) * hd]);
    }
}
