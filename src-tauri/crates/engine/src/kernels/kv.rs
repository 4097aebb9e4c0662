//! The keys and values of one attention layer.
//!
//! Keys are stored in blocks of 16 positions, transposed (`[block][head_dim][16]`), so that scores come out sixteen at a time
//! without a horizontal sum; values as `[position][head_dim]`. One pair of vectors a KV head.
use super::error::check_len;
use super::simd::LANES;
use super::{KernelError, simd};
use std::ops::Range;

/// How keys and values are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    F32,
    F16,
}

pub(super) struct HeadStore<T> {
    pub(super) keys: Vec<T>,
    pub(super) values: Vec<T>,
}

pub(super) enum Store {
    F32(Vec<HeadStore<f32>>),
    F16(Vec<HeadStore<u16>>),
}

/// Grows by appending, shrinks by [`truncate`](Self::truncate).
pub struct KvCache {
    pub(super) store: Store,
    pub(super) head_dim: usize,
    len: usize,
}

pub(super) trait Element: Copy + Default {
    fn narrow(v: f32) -> Self;
    fn load<S: simd::Simd>(s: S, from: &[Self; LANES]) -> S::V;
}

impl Element for f32 {
    fn narrow(v: f32) -> f32 {
        v
    }
    #[inline(always)]
    fn load<S: simd::Simd>(s: S, from: &[f32; LANES]) -> S::V {
        s.load(from)
    }
}

impl Element for u16 {
    fn narrow(v: f32) -> u16 {
        half::f16::from_f32(v).to_bits()
    }
    #[inline(always)]
    fn load<S: simd::Simd>(s: S, from: &[u16; LANES]) -> S::V {
        s.load_f16(from)
    }
}

impl<T: Element> HeadStore<T> {
    fn new() -> Self {
        HeadStore { keys: Vec::new(), values: Vec::new() }
    }

    fn push(&mut self, pos: usize, key: &[f32], value: &[f32]) {
        let head_dim = key.len();
        let blocks = pos / LANES + 1;
        self.keys.resize(blocks * LANES * head_dim, T::default());
        self.values.resize(blocks * LANES * head_dim, T::default());
        let keys = &mut self.keys[pos / LANES * LANES * head_dim..];
        for ((d, k), v) in key.iter().enumerate().zip(value) {
            keys[d * LANES + pos % LANES] = T::narrow(*k);
            self.values[pos * head_dim + d] = T::narrow(*v);
        }
    }

    /// Forgets positions from `len` on; what is left of the last block is zeroed.
    fn truncate(&mut self, len: usize, head_dim: usize) {
        let kept = len.next_multiple_of(LANES) * head_dim;
        self.keys.truncate(kept);
        self.values.truncate(kept);
        self.values[len * head_dim..].fill(T::default());
        for pos in len..len.next_multiple_of(LANES) {
            for d in 0..head_dim {
                self.keys[pos / LANES * LANES * head_dim + d * LANES + pos % LANES] = T::default();
            }
        }
    }

    fn key(&self, pos: usize, head_dim: usize) -> impl Iterator<Item = &T> {
        self.keys[pos / LANES * LANES * head_dim + pos % LANES..].iter().step_by(LANES).take(head_dim)
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
        }
    }

    pub fn kv_heads(&self) -> usize {
        match &self.store {
            Store::F32(heads) => heads.len(),
            Store::F16(heads) => heads.len(),
        }
    }

    /// Memory taken.
    pub fn bytes(&self) -> usize {
        match &self.store {
            Store::F32(heads) => heads.iter().map(|h| (h.keys.capacity() + h.values.capacity()) * 4).sum(),
            Store::F16(heads) => heads.iter().map(|h| (h.keys.capacity() + h.values.capacity()) * 2).sum(),
        }
    }

    /// Positions that there is memory for when `len` are held: a step more than needed.
    pub fn positions_for(len: usize) -> usize {
        const STEP: usize = 256;
        len.next_multiple_of(STEP)
    }

    /// Bytes that [`reserve`](Self::reserve) would take for `more` positions.
    pub fn lacks(&self, more: usize) -> usize {
        let needed = Self::positions_for(self.len + more) * self.head_dim;
        let lack = |capacity: usize| needed.saturating_sub(capacity);
        match &self.store {
            Store::F32(heads) => {
                heads.iter().map(|h| (lack(h.keys.capacity()) + lack(h.values.capacity())) * 4).sum()
            }
            Store::F16(heads) => {
                heads.iter().map(|h| (lack(h.keys.capacity()) + lack(h.values.capacity())) * 2).sum()
            }
        }
    }

    /// Room for `more` positions, in steps of 256: large buffers are moved by the system's page tables, not copied.
    pub fn reserve(&mut self, more: usize) -> Result<(), KernelError> {
        let needed = Self::positions_for(self.len + more) * self.head_dim;
        match &mut self.store {
            Store::F32(heads) => reserve(heads, needed),
            Store::F16(heads) => reserve(heads, needed),
        }
    }

    /// Adds m positions; `k` and `v` are `[m, kv_heads, head_dim]`, keys already turned by RoPE.
    pub fn append(&mut self, k: &[f32], v: &[f32]) -> Result<(), KernelError> {
        let width = self.kv_heads() * self.head_dim;
        let rows = k.len() / width;
        check_len("keys", rows * width, k.len())?;
        check_len("values", k.len(), v.len())?;
        match &mut self.store {
            Store::F32(heads) => push_all(heads, self.len, self.head_dim, k, v),
            Store::F16(heads) => push_all(heads, self.len, self.head_dim, k, v),
        }
        self.len += rows;
        Ok(())
    }

    /// Forgets everything from position `len` on.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len {
            return;
        }
        match &mut self.store {
            Store::F32(heads) => heads.iter_mut().for_each(|h| h.truncate(len, self.head_dim)),
            Store::F16(heads) => heads.iter_mut().for_each(|h| h.truncate(len, self.head_dim)),
        }
        self.len = len;
    }

    /// Bytes that [`save`](Self::save) writes for one position.
    pub fn position_bytes(&self) -> usize {
        let size = if self.kind() == KvType::F32 { 4 } else { 2 };
        2 * size * self.kv_heads() * self.head_dim
    }

    /// Appends the keys, then the values, of these positions to `out`, little-endian, `[kv_head][position][head_dim]` each:
    /// for snapshots. Positions that are not there are left out.
    pub fn save(&self, positions: Range<usize>, out: &mut Vec<u8>) {
        let positions = positions.start.min(self.len)..positions.end.min(self.len);
        out.reserve(positions.len() * self.position_bytes());
        match &self.store {
            Store::F32(heads) => save(heads, positions, self.head_dim, f32::to_le_bytes, out),
            Store::F16(heads) => save(heads, positions, self.head_dim, u16::to_le_bytes, out),
        }
    }

    /// Appends `count` positions that [`save`](Self::save) of a cache of the same shape and kind wrote.
    pub fn extend_saved(&mut self, count: usize, bytes: &[u8]) -> Result<(), KernelError> {
        let expected = count.saturating_mul(self.position_bytes());
        check_len("saved keys and values (bytes)", expected, bytes.len())?;
        let (at, hd) = (self.len, self.head_dim);
        match &mut self.store {
            Store::F32(heads) => extend(heads, at, count, hd, bytes.as_chunks().0, f32::from_le_bytes),
            Store::F16(heads) => extend(heads, at, count, hd, bytes.as_chunks().0, u16::from_le_bytes),
        }
        self.len += count;
        Ok(())
    }
}

fn reserve<T: Element>(heads: &mut [HeadStore<T>], needed: usize) -> Result<(), KernelError> {
    for values in heads.iter_mut().flat_map(|head| [&mut head.keys, &mut head.values]) {
        if values.capacity() < needed {
            let refused = |_| KernelError::OutOfMemory { bytes: needed * size_of::<T>() };
            values.try_reserve_exact(needed - values.len()).map_err(refused)?;
        }
    }
    Ok(())
}

fn push_all<T: Element>(heads: &mut [HeadStore<T>], at: usize, head_dim: usize, k: &[f32], v: &[f32]) {
    let width = heads.len() * head_dim;
    for (i, (k, v)) in k.chunks_exact(width).zip(v.chunks_exact(width)).enumerate() {
        let rows = k.chunks_exact(head_dim).zip(v.chunks_exact(head_dim));
        heads.iter_mut().zip(rows).for_each(|(head, (k, v))| head.push(at + i, k, v));
    }
}

fn save<T: Element, const SIZE: usize>(
    heads: &[HeadStore<T>],
    positions: Range<usize>,
    head_dim: usize,
    put: impl Fn(T) -> [u8; SIZE],
    out: &mut Vec<u8>,
) {
    for head in heads {
        for pos in positions.clone() {
            out.extend(head.key(pos, head_dim).flat_map(|v| put(*v)));
        }
    }
    for head in heads {
        let values = &head.values[positions.start * head_dim..positions.end * head_dim];
        out.extend(values.iter().flat_map(|v| put(*v)));
    }
}

fn extend<T: Element, const SIZE: usize>(
    heads: &mut [HeadStore<T>],
    at: usize,
    count: usize,
    head_dim: usize,
    saved: &[[u8; SIZE]],
    get: impl Fn([u8; SIZE]) -> T,
) {
    let per_head = count * head_dim;
    let padded = (at + count).next_multiple_of(LANES) * head_dim;
    let (keys, values) = saved.split_at(heads.len() * per_head);
    let saved = keys.chunks_exact(per_head.max(1)).zip(values.chunks_exact(per_head.max(1)));
    for (head, (keys, values)) in heads.iter_mut().zip(saved) {
        head.keys.resize(padded, T::default());
        for (pos, key) in (at..).zip(keys.chunks_exact(head_dim)) {
            let slots = head.keys[pos / LANES * LANES * head_dim + pos % LANES..].iter_mut().step_by(LANES);
            slots.zip(key).for_each(|(slot, bytes)| *slot = get(*bytes));
        }
        head.values.truncate(at * head_dim);
        head.values.extend(values.iter().map(|bytes| get(*bytes)));
        head.values.resize(padded, T::default());
    }
}
