//! The keys and values of one attention layer.
//!
//! Keys are stored in blocks of 16 positions, transposed (`[block][head_dim][16]`), so that scores come out sixteen at a time
//! without a horizontal sum; values as `[position][head_dim]`. One pair of vectors a KV head.
use super::error::check_len;
use super::simd::LANES;
use super::{KernelError, simd};

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

    fn key(&self, pos: usize, d: usize, head_dim: usize) -> T {
        self.keys[pos / LANES * LANES * head_dim + d * LANES + pos % LANES]
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

    /// Appends every key, then every value, to `out`, little-endian, `[kv_head][position][head_dim]` each: for snapshots.
    pub fn write_le(&self, out: &mut Vec<u8>) {
        match &self.store {
            Store::F32(heads) => {
                save(heads, self.len, self.head_dim, |v, out| out.extend(v.to_le_bytes()), out)
            }
            Store::F16(heads) => {
                save(heads, self.len, self.head_dim, |v, out| out.extend(v.to_le_bytes()), out)
            }
        }
    }

    /// Replaces the content by `len` positions written by [`write_le`](Self::write_le) of a cache of the same shape and kind.
    pub fn read_le(&mut self, len: usize, bytes: &[u8]) -> Result<(), KernelError> {
        let size = if self.kind() == KvType::F32 { 4 } else { 2 };
        let expected = len.saturating_mul(2 * size * self.kv_heads() * self.head_dim);
        check_len("saved keys and values (bytes)", expected, bytes.len())?;
        match &mut self.store {
            Store::F32(heads) => restore(heads, len, self.head_dim, bytes.as_chunks().0, f32::from_le_bytes),
            Store::F16(heads) => restore(heads, len, self.head_dim, bytes.as_chunks().0, u16::from_le_bytes),
        }
        self.len = len;
        Ok(())
    }
}

fn push_all<T: Element>(heads: &mut [HeadStore<T>], at: usize, head_dim: usize, k: &[f32], v: &[f32]) {
    let width = heads.len() * head_dim;
    for (i, (k, v)) in k.chunks_exact(width).zip(v.chunks_exact(width)).enumerate() {
        let rows = k.chunks_exact(head_dim).zip(v.chunks_exact(head_dim));
        heads.iter_mut().zip(rows).for_each(|(head, (k, v))| head.push(at + i, k, v));
    }
}

fn save<T: Element>(
    heads: &[HeadStore<T>],
    len: usize,
    head_dim: usize,
    put: impl Fn(T, &mut Vec<u8>),
    out: &mut Vec<u8>,
) {
    for head in heads {
        for pos in 0..len {
            (0..head_dim).for_each(|d| put(head.key(pos, d, head_dim), out));
        }
    }
    for head in heads {
        head.values[..len * head_dim].iter().for_each(|v| put(*v, out));
    }
}

fn restore<T: Element, const SIZE: usize>(
    heads: &mut [HeadStore<T>],
    len: usize,
    head_dim: usize,
    saved: &[[u8; SIZE]],
    get: impl Fn([u8; SIZE]) -> T,
) {
    let per_head = len * head_dim;
    let padded = len.next_multiple_of(LANES) * head_dim;
    let (keys, values) = saved.split_at(heads.len() * per_head);
    for (h, head) in heads.iter_mut().enumerate() {
        head.keys.clear();
        head.keys.resize(padded, T::default());
        for (i, bytes) in keys[h * per_head..][..per_head].iter().enumerate() {
            let (pos, d) = (i / head_dim, i % head_dim);
            head.keys[pos / LANES * LANES * head_dim + d * LANES + pos % LANES] = get(*bytes);
        }
        head.values.clear();
        head.values.extend(values[h * per_head..][..per_head].iter().map(|b| get(*b)));
        head.values.resize(padded, T::default());
    }
}
