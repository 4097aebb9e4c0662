//! The keys and values of one attention layer.
//!
//! Keys are stored in blocks of 16 positions, transposed (`[block][head_dim][16]`), so that scores come out sixteen at a time
//! without a horizontal sum; values as `[position][head_dim]`. One pair of vectors a KV head.
use super::error::check_len;
use super::segments::check_segments;
use super::simd::LANES;
use super::{CpuTier, KernelError, Pool, Rows, Segment, simd};
use std::ops::Range;

/// How keys and values are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    F32,
    F16,
    /// Eight bits, and one f32 scale for each row of a head: 0.53 of F16's memory at head size 64.
    Q8,
}

impl KvType {
    /// Of one key or value of one head.
    pub fn row_bytes(self, head_dim: usize) -> usize {
        match self {
            KvType::F32 => 4 * head_dim,
            KvType::F16 => 2 * head_dim,
            KvType::Q8 => head_dim + size_of::<f32>(),
        }
    }
}

pub(super) struct HeadStore<T> {
    pub(super) keys: Vec<T>,
    pub(super) values: Vec<T>,
    /// One for each position, and zeros up to a multiple of 16; empty unless the type is scaled.
    pub(super) key_scales: Vec<f32>,
    pub(super) value_scales: Vec<f32>,
}

pub(super) enum Store {
    F32(Vec<HeadStore<f32>>),
    F16(Vec<HeadStore<u16>>),
    Q8(Vec<HeadStore<i8>>),
}

/// `$body` with `$heads` as whatever kind of heads the store has.
macro_rules! each_kind {
    ($store:expr, $heads:ident => $body:expr) => {
        match $store {
            Store::F32($heads) => $body,
            Store::F16($heads) => $body,
            Store::Q8($heads) => $body,
        }
    };
}

/// Grows by appending, shrinks by [`truncate`](Self::truncate).
pub struct KvCache {
    pub(super) store: Store,
    pub(super) head_dim: usize,
    len: usize,
}

pub(super) trait Element: Copy + Default + Send + Sync + 'static {
    /// Whether `load` has to convert.
    const NARROW: bool;
    /// Whether rows have a scale.
    const SCALED: bool;
    /// Of a value that has been divided by its row's scale.
    fn narrow(v: f32) -> Self;
    fn load<S: simd::Simd>(s: S, from: &[Self; LANES]) -> S::V;
    fn put(self, out: &mut Vec<u8>);
    /// Of as many bytes as the type has.
    fn get(bytes: &[u8]) -> Self;
}

impl Element for f32 {
    const NARROW: bool = false;
    const SCALED: bool = false;
    fn narrow(v: f32) -> f32 {
        v
    }
    #[inline(always)]
    fn load<S: simd::Simd>(s: S, from: &[f32; LANES]) -> S::V {
        s.load(from)
    }
    fn put(self, out: &mut Vec<u8>) {
        out.extend(self.to_le_bytes());
    }
    fn get(bytes: &[u8]) -> f32 {
        bytes.first_chunk().map_or(0.0, |b| f32::from_le_bytes(*b))
    }
}

impl Element for u16 {
    const NARROW: bool = true;
    const SCALED: bool = false;
    fn narrow(v: f32) -> u16 {
        half::f16::from_f32(v).to_bits()
    }
    #[inline(always)]
    fn load<S: simd::Simd>(s: S, from: &[u16; LANES]) -> S::V {
        s.load_f16(from)
    }
    fn put(self, out: &mut Vec<u8>) {
        out.extend(self.to_le_bytes());
    }
    fn get(bytes: &[u8]) -> u16 {
        bytes.first_chunk().map_or(0, |b| u16::from_le_bytes(*b))
    }
}

impl Element for i8 {
    const NARROW: bool = true;
    const SCALED: bool = true;
    fn narrow(v: f32) -> i8 {
        v.round_ties_even() as i8
    }
    #[inline(always)]
    fn load<S: simd::Simd>(s: S, from: &[i8; LANES]) -> S::V {
        s.load_i8(&from.map(|v| v as u8))
    }
    fn put(self, out: &mut Vec<u8>) {
        out.push(self as u8);
    }
    fn get(bytes: &[u8]) -> i8 {
        bytes.first().map_or(0, |b| *b as i8)
    }
}

/// What a row is divided by so that its largest value becomes 127.
fn scale_of(row: &[f32]) -> f32 {
    row.iter().fold(0.0f32, |most, v| most.max(v.abs())) / 127.0
}

fn narrowed<T: Element>(row: &[f32], scales: &mut [f32], pos: usize) -> impl Iterator<Item = T> {
    let mut inverse = 1.0;
    if T::SCALED {
        scales[pos] = scale_of(row);
        inverse = if scales[pos] > 0.0 { 1.0 / scales[pos] } else { 0.0 };
    }
    row.iter().map(move |v| T::narrow(v * inverse))
}

impl<T: Element> HeadStore<T> {
    fn new() -> Self {
        HeadStore { keys: Vec::new(), values: Vec::new(), key_scales: Vec::new(), value_scales: Vec::new() }
    }

    /// Room for positions up to `len`, zeroed where new; what is beyond is forgotten.
    fn resize(&mut self, len: usize, head_dim: usize) {
        let padded = len.next_multiple_of(LANES);
        self.keys.resize(padded * head_dim, T::default());
        self.values.resize(padded * head_dim, T::default());
        if T::SCALED {
            self.key_scales.resize(padded, 0.0);
            self.value_scales.resize(padded, 0.0);
        }
    }

    fn set(&mut self, pos: usize, key: &[f32], value: &[f32]) {
        let head_dim = key.len();
        let keys = self.keys[pos / LANES * LANES * head_dim + pos % LANES..].iter_mut().step_by(LANES);
        keys.zip(narrowed(key, &mut self.key_scales, pos)).for_each(|(slot, v)| *slot = v);
        let values = self.values[pos * head_dim..].iter_mut();
        values.zip(narrowed(value, &mut self.value_scales, pos)).for_each(|(slot, v)| *slot = v);
    }

    /// Forgets positions from `len` on; what is left of the last block is zeroed.
    fn truncate(&mut self, len: usize, head_dim: usize) {
        self.resize(len, head_dim);
        for pos in len..len.next_multiple_of(LANES) {
            self.set(pos, &vec![0.0; head_dim], &vec![0.0; head_dim]);
        }
    }

    fn key(&self, pos: usize, head_dim: usize) -> impl Iterator<Item = &T> {
        self.keys[pos / LANES * LANES * head_dim + pos % LANES..].iter().step_by(LANES).take(head_dim)
    }

    fn save_keys(&self, positions: Range<usize>, head_dim: usize, out: &mut Vec<u8>) {
        for pos in positions {
            self.key(pos, head_dim).for_each(|v| v.put(out));
            self.key_scales.get(pos).into_iter().for_each(|scale| scale.put(out));
        }
    }

    fn save_values(&self, positions: Range<usize>, head_dim: usize, out: &mut Vec<u8>) {
        for pos in positions {
            self.values[pos * head_dim..][..head_dim].iter().for_each(|v| v.put(out));
            self.value_scales.get(pos).into_iter().for_each(|scale| scale.put(out));
        }
    }

    fn load_key(&mut self, pos: usize, head_dim: usize, saved: &[u8]) {
        let keys = self.keys[pos / LANES * LANES * head_dim + pos % LANES..].iter_mut().step_by(LANES);
        let (row, scale) = saved.split_at(head_dim * size_of::<T>());
        keys.zip(row.chunks_exact(size_of::<T>())).for_each(|(slot, bytes)| *slot = T::get(bytes));
        self.key_scales.get_mut(pos).into_iter().for_each(|slot| *slot = f32::get(scale));
    }

    fn load_value(&mut self, pos: usize, head_dim: usize, saved: &[u8]) {
        let (row, scale) = saved.split_at(head_dim * size_of::<T>());
        let values = self.values[pos * head_dim..].iter_mut();
        values.zip(row.chunks_exact(size_of::<T>())).for_each(|(slot, bytes)| *slot = T::get(bytes));
        self.value_scales.get_mut(pos).into_iter().for_each(|slot| *slot = f32::get(scale));
    }

    fn reserve(&mut self, positions: usize, head_dim: usize) -> Result<(), KernelError> {
        reserve(&mut self.keys, positions * head_dim)?;
        reserve(&mut self.values, positions * head_dim)?;
        if T::SCALED {
            reserve(&mut self.key_scales, positions)?;
            reserve(&mut self.value_scales, positions)?;
        }
        Ok(())
    }

    /// Bytes that `reserve` would take.
    fn lacks(&self, positions: usize, head_dim: usize) -> usize {
        let values = positions * head_dim;
        let lack =
            values.saturating_sub(self.keys.capacity()) + values.saturating_sub(self.values.capacity());
        let scales = if T::SCALED { 2 * positions.saturating_sub(self.key_scales.capacity()) } else { 0 };
        lack * size_of::<T>() + scales * size_of::<f32>()
    }

    fn bytes(&self) -> usize {
        (self.keys.capacity() + self.values.capacity()) * size_of::<T>()
            + (self.key_scales.capacity() + self.value_scales.capacity()) * size_of::<f32>()
    }
}

impl KvCache {
    /// Empty. `head_dim` must be a multiple of 16.
    pub fn new(kind: KvType, kv_heads: usize, head_dim: usize) -> Result<KvCache, KernelError> {
        if head_dim == 0 || !head_dim.is_multiple_of(LANES) {
            return Err(KernelError::HeadDim { head_dim, multiple: LANES });
        }
        let store = match kind {
            KvType::F32 => Store::F32((0..kv_heads).map(|_| HeadStore::new()).collect()),
            KvType::F16 => Store::F16((0..kv_heads).map(|_| HeadStore::new()).collect()),
            KvType::Q8 => Store::Q8((0..kv_heads).map(|_| HeadStore::new()).collect()),
        };
        Ok(KvCache { store, head_dim, len: 0 })
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn kind(&self) -> KvType {
        match self.store {
            Store::F32(_) => KvType::F32,
            Store::F16(_) => KvType::F16,
            Store::Q8(_) => KvType::Q8,
        }
    }

    pub fn kv_heads(&self) -> usize {
        each_kind!(&self.store, heads => heads.len())
    }

    /// Memory taken.
    pub fn bytes(&self) -> usize {
        each_kind!(&self.store, heads => heads.iter().map(HeadStore::bytes).sum())
    }

    /// Positions that there is memory for when `len` are held: a step more than needed.
    pub fn positions_for(len: usize) -> usize {
        const STEP: usize = 256;
        len.next_multiple_of(STEP)
    }

    /// Bytes that [`reserve`](Self::reserve) would take for `more` positions.
    pub fn lacks(&self, more: usize) -> usize {
        let needed = Self::positions_for(self.len + more);
        each_kind!(&self.store, heads => heads.iter().map(|h| h.lacks(needed, self.head_dim)).sum())
    }

    /// Room for `more` positions, in steps of 256: large buffers are moved by the system's page tables, not copied.
    pub fn reserve(&mut self, more: usize) -> Result<(), KernelError> {
        let (needed, hd) = (Self::positions_for(self.len + more), self.head_dim);
        each_kind!(&mut self.store, heads => heads.iter_mut().try_for_each(|h| h.reserve(needed, hd)))
    }

    /// Adds m positions; `k` and `v` are `[m, kv_heads, head_dim]`, keys already turned by RoPE.
    pub fn append(&mut self, k: &[f32], v: &[f32]) -> Result<(), KernelError> {
        let rows = k.len() / (self.kv_heads() * self.head_dim);
        append_all(CpuTier::Portable, &Pool::new(1), &mut Segment::whole(rows, self), k, v)
    }

    /// Forgets everything from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            each_kind!(&mut self.store, heads => heads.iter_mut().for_each(|h| h.truncate(len, self.head_dim)));
            self.len = len;
        }
    }

    /// Bytes that [`save`](Self::save) writes for one position.
    pub fn position_bytes(&self) -> usize {
        2 * self.kv_heads() * self.kind().row_bytes(self.head_dim)
    }

    /// Appends the keys, then the values, of these positions to `out`, little-endian, `[kv_head][position][head_dim]` each (in
    /// Q8 every row followed by its scale): for snapshots. Positions that are not there are left out.
    pub fn save(&self, positions: Range<usize>, out: &mut Vec<u8>) {
        let positions = positions.start.min(self.len)..positions.end.min(self.len);
        out.reserve(positions.len() * self.position_bytes());
        let hd = self.head_dim;
        each_kind!(&self.store, heads => {
            heads.iter().for_each(|head| head.save_keys(positions.clone(), hd, out));
            heads.iter().for_each(|head| head.save_values(positions.clone(), hd, out));
        });
    }

    /// Appends `count` positions that [`save`](Self::save) of a cache of the same shape and kind wrote.
    pub fn extend_saved(&mut self, count: usize, bytes: &[u8]) -> Result<(), KernelError> {
        let expected = count.saturating_mul(self.position_bytes());
        check_len("saved keys and values (bytes)", expected, bytes.len())?;
        self.reserve(count)?;
        let (at, hd, row) = (self.len, self.head_dim, self.kind().row_bytes(self.head_dim));
        let (keys, values) = bytes.split_at(bytes.len() / 2);
        let per_head = (count * row).max(1);
        each_kind!(&mut self.store, heads => {
            let saved = keys.chunks_exact(per_head).zip(values.chunks_exact(per_head));
            for (head, (keys, values)) in heads.iter_mut().zip(saved) {
                head.resize(at + count, hd);
                (at..).zip(keys.chunks_exact(row)).for_each(|(pos, saved)| head.load_key(pos, hd, saved));
                (at..).zip(values.chunks_exact(row)).for_each(|(pos, saved)| head.load_value(pos, hd, saved));
            }
        });
        self.len += count;
        Ok(())
    }
}

fn reserve<T>(values: &mut Vec<T>, needed: usize) -> Result<(), KernelError> {
    if values.capacity() < needed {
        let refused = |_| KernelError::OutOfMemory { bytes: needed * size_of::<T>() };
        values.try_reserve_exact(needed - values.len()).map_err(refused)?;
    }
    Ok(())
}

/// Adds its rows of `k` and `v` (`[m, kv_heads, head_dim]`, keys turned by RoPE) to the cache of every segment.
pub fn append_all(
    _tier: CpuTier,
    pool: &Pool,
    segments: &mut [Segment<&mut KvCache>],
    k: &[f32],
    v: &[f32],
) -> Result<(), KernelError> {
    let Some((heads, head_dim)) = segments.first().map(|s| (s.state.kv_heads(), s.state.head_dim)) else {
        return check_len("keys", 0, k.len());
    };
    let width = heads * head_dim;
    check_len("values", k.len(), v.len())?;
    check_segments(segments, k.len() / width)?;
    check_len("keys", k.len() / width * width, k.len())?;
    for Segment { rows, state } in segments.iter_mut() {
        check_len("key row", width, state.kv_heads() * state.head_dim)?;
        check_len("key heads", heads, state.kv_heads())?;
        state.reserve(rows.len())?;
    }
    let mut jobs = Vec::with_capacity(segments.len() * heads);
    for Segment { rows, state } in segments.iter_mut() {
        let at = state.len;
        state.len += rows.len();
        each_kind!(&mut state.store, heads => {
            for (head, store) in heads.iter_mut().enumerate() {
                let store: &mut (dyn Append + Send) = store;
                jobs.push((store, at, rows.clone(), head * head_dim..(head + 1) * head_dim));
            }
        });
    }
    pool.run_mut(&mut jobs, 1, |_, jobs| {
        for (store, at, rows, columns) in jobs {
            let part = |all| Rows::part(all, width, columns.start, columns.len()).rows(rows.clone());
            store.append(*at, part(k), part(v));
        }
    });
    Ok(())
}

trait Append {
    fn append(&mut self, at: usize, keys: Rows, values: Rows);
}

impl<T: Element> Append for HeadStore<T> {
    fn append(&mut self, at: usize, keys: Rows, values: Rows) {
        self.resize(at + keys.len(), keys.width());
        for i in 0..keys.len() {
            self.set(at + i, keys.row(i), values.row(i));
        }
    }
}
