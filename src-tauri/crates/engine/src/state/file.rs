//! Snapshots of one sequence as a file. The caller opens, writes and names it. Little-endian:
//!
//! | magic `CHIMSNAP` | version u32 | backend u32 | SHA-256 of the model file | index bytes u64 | index | XXH3 of all before u64 | KV parts | fixed parts |
//! |---|---|---|---|---|---|---|---|---|
//!
//! Index: counts of tokens, KV parts and snapshots (u32 each); the tokens of the longest snapshot (u32 each), which
//! those of the others begin; for each KV part: positions u32, bytes u64, XXH3 u64; for each snapshot, longest first:
//! its number of KV parts u32, bytes of its fixed part u64, XXH3 u64. So keys and values are there once, and reading
//! one snapshot touches no byte of another.
//!
//! The checksum finds damage, not intent: XXH3 reads 54 GB/s where SHA-256 (with the CPU's SHA instructions) reads
//! 1.2. Whoever forges a file gets wrong answers, never an access outside memory: every number is checked.
//!
//! Nothing is compressed: of a real file of 10.6 MB, LZ4 makes 0.4% more, zstd 7% less, zstd over byte planes 15% less, and
//! the latter takes 12 ms to read where the checksum takes 0.2.
//!
//! The parts are the backend's own (`Sequence::save_fixed`, `save_kv`); whoever changes their layout raises `VERSION`.
use super::{KvPart, ModelKey, Snapshot};
use crate::{Backend, EngineError, TokenId};
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use twox_hash::XxHash3_64;

const MAGIC: [u8; 8] = *b"CHIMSNAP";
const VERSION: u32 = 3;
/// Magic to index length.
const HEADER_BYTES: usize = 8 + 4 + 4 + 32 + 8;
const COUNTS_BYTES: usize = 3 * 4;
const KV_ENTRY_BYTES: usize = 4 + 8 + 8;
const SNAPSHOT_ENTRY_BYTES: usize = 4 + 8 + 8;
/// No context is so long that its index comes near this.
const MAX_INDEX_BYTES: u64 = 64 << 20;

/// Writes snapshots of one sequence: the first, and those that it continues (see
/// [`Session::resumable`](crate::Session::resumable)); others are left out. Hashes the model file if nobody has yet.
pub fn write_snapshots(snapshots: &[Snapshot], out: &mut dyn Write) -> Result<(), EngineError> {
    let Some(longest) = snapshots.first() else { return Ok(()) };
    let own: Vec<&Snapshot> = snapshots.iter().filter(|s| s.begins(longest)).collect();
    let index = index(longest, &own);
    let mut head = Vec::with_capacity(HEADER_BYTES + index.len() + 8);
    head.extend(MAGIC);
    head.extend(VERSION.to_le_bytes());
    head.extend(backend_code(longest.backend).to_le_bytes());
    head.extend(longest.model.digest());
    head.extend((index.len() as u64).to_le_bytes());
    head.extend(index);
    head.extend(XxHash3_64::oneshot(&head).to_le_bytes());
    out.write_all(&head).map_err(EngineError::SnapshotIo)?;
    let kv = longest.kv.iter().map(KvPart::bytes);
    kv.chain(own.iter().map(|s| s.fixed()))
        .try_for_each(|part| out.write_all(part))
        .map_err(EngineError::SnapshotIo)
}

fn index(longest: &Snapshot, own: &[&Snapshot]) -> Vec<u8> {
    let mut out = Vec::new();
    // A context has fewer than 2^32 tokens, and a sequence no more parts than tokens.
    let counts = [longest.tokens.len(), longest.kv.len(), own.len()];
    counts.iter().for_each(|n| out.extend((*n as u32).to_le_bytes()));
    longest.tokens.iter().for_each(|token| out.extend(token.to_le_bytes()));
    let entries = longest.kv.iter().map(|part| (part.positions, part.bytes()));
    for (count, bytes) in entries.chain(own.iter().map(|s| (s.kv.len(), s.fixed()))) {
        out.extend((count as u32).to_le_bytes());
        out.extend((bytes.len() as u64).to_le_bytes());
        out.extend(XxHash3_64::oneshot(bytes).to_le_bytes());
    }
    out
}

fn backend_code(backend: Backend) -> u32 {
    match backend {
        Backend::Fast => 0,
        Backend::Reference => 1,
    }
}

fn backend_of(code: u32) -> Result<Backend, EngineError> {
    match code {
        0 => Ok(Backend::Fast),
        1 => Ok(Backend::Reference),
        _ => Err(corrupt("backend")),
    }
}

/// A part of the file.
struct Entry {
    /// Positions of a KV part, or number of KV parts of a snapshot.
    count: usize,
    offset: u64,
    bytes: usize,
    sum: u64,
}

/// A file of snapshots whose index has been read and checked; the rest is read when asked for.
pub struct SnapshotFile<R> {
    source: R,
    model: [u8; 32],
    backend: Backend,
    tokens: Vec<TokenId>,
    kv: Vec<Entry>,
    /// Those of them that were read: the snapshots of one file share them.
    read_kv: Vec<KvPart>,
    /// With their numbers of tokens.
    snapshots: Vec<(usize, Entry)>,
}

impl<R: Read + Seek> SnapshotFile<R> {
    /// Allocates no more than the file is long.
    pub fn open(mut source: R) -> Result<Self, EngineError> {
        let len = source.seek(SeekFrom::End(0)).map_err(EngineError::SnapshotIo)?;
        source.seek(SeekFrom::Start(0)).map_err(EngineError::SnapshotIo)?;
        let mut head = vec![0; HEADER_BYTES];
        read(&mut source, &mut head)?;
        let mut fields = Fields(&head);
        if fields.array::<8>()? != MAGIC {
            return Err(corrupt("not a snapshot"));
        }
        let found = fields.u32()?;
        if found != VERSION {
            return Err(EngineError::SnapshotVersion { found, supported: VERSION });
        }
        let (backend, model, index_bytes) = (fields.u32()?, fields.array()?, fields.u64()?);
        if index_bytes > MAX_INDEX_BYTES || index_bytes > len {
            return Err(corrupt("index length"));
        }
        head.resize(HEADER_BYTES + index_bytes as usize + 8, 0);
        read(&mut source, &mut head[HEADER_BYTES..])?;
        let (content, sum) = head.split_last_chunk::<8>().ok_or(TRUNCATED)?;
        if XxHash3_64::oneshot(content) != u64::from_le_bytes(*sum) {
            return Err(corrupt("checksum of the index"));
        }
        let mut file = Self {
            source,
            model,
            backend: backend_of(backend)?,
            tokens: vec![],
            kv: vec![],
            read_kv: vec![],
            snapshots: vec![],
        };
        file.parse(&content[HEADER_BYTES..], head.len() as u64, len)?;
        Ok(file)
    }

    fn parse(&mut self, index: &[u8], data_start: u64, len: u64) -> Result<(), EngineError> {
        let mut fields = Fields(index);
        let [tokens, kv, snapshots] = [fields.size()?, fields.size()?, fields.size()?];
        let needed = [COUNTS_BYTES as u64, tokens as u64 * 4, kv as u64 * KV_ENTRY_BYTES as u64];
        let needed = needed.iter().sum::<u64>() + snapshots as u64 * SNAPSHOT_ENTRY_BYTES as u64;
        if needed != index.len() as u64 {
            return Err(corrupt("counts"));
        }
        self.tokens =
            fields.take(tokens * 4)?.as_chunks().0.iter().map(|b| TokenId::from_le_bytes(*b)).collect();
        let mut offset = data_start;
        let mut entry = || {
            let entry =
                Entry { count: fields.size()?, offset, bytes: fields.long_size()?, sum: fields.u64()? };
            offset = offset.checked_add(entry.bytes as u64).filter(|end| *end <= len).ok_or(TRUNCATED)?;
            Ok::<_, EngineError>(entry)
        };
        self.kv = (0..kv).map(|_| entry()).collect::<Result<_, _>>()?;
        let entries = (0..snapshots).map(|_| entry()).collect::<Result<Vec<_>, _>>()?;
        if offset != len {
            return Err(corrupt("length"));
        }
        // Summed once: a hostile index may name as many parts as snapshots. 2^32 counts below 2^32 stay below 2^64.
        let mut ends = vec![0u64];
        ends.extend(self.kv.iter().scan(0u64, |end, part| {
            *end += part.count as u64;
            Some(*end)
        }));
        self.snapshots =
            entries.into_iter().map(|entry| self.with_tokens(entry, &ends)).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// `ends[n]`: positions of the first n parts of keys and values.
    fn with_tokens(&self, entry: Entry, ends: &[u64]) -> Result<(usize, Entry), EngineError> {
        let tokens = *ends.get(entry.count).ok_or(corrupt("parts"))?;
        let tokens =
            usize::try_from(tokens).ok().filter(|n| *n <= self.tokens.len()).ok_or(corrupt("positions"))?;
        Ok((tokens, entry))
    }

    /// SHA-256 of the model file it belongs to.
    pub fn model_sha256(&self) -> &[u8; 32] {
        &self.model
    }

    /// Numbers of tokens of the snapshots in the file.
    pub fn token_counts(&self) -> impl Iterator<Item = usize> {
        self.snapshots.iter().map(|(tokens, _)| *tokens)
    }

    /// How many tokens of `prompt` the best snapshot of the file covers.
    pub fn longest_prefix(&self, prompt: &[TokenId]) -> usize {
        self.token_counts().filter(|n| self.covers(*n, prompt)).max().unwrap_or(0)
    }

    fn covers(&self, n: usize, prompt: &[TokenId]) -> bool {
        self.tokens.get(..n).is_some_and(|tokens| prompt.starts_with(tokens))
    }

    /// The snapshot after the first `tokens` tokens.
    pub fn read(&mut self, tokens: usize) -> Result<Snapshot, EngineError> {
        let Self { source, kv, read_kv, snapshots, .. } = self;
        let wanted = snapshots.iter().find(|(n, _)| *n == tokens).map(|(_, entry)| entry);
        let entry = wanted.ok_or(corrupt("no such snapshot"))?;
        let fixed = Arc::new(read_entry(source, entry)?);
        for part in kv.iter().take(entry.count).skip(read_kv.len()) {
            read_kv.push(KvPart::new(part.count, read_entry(source, part)?));
        }
        let kv = read_kv.iter().take(entry.count).cloned().collect();
        let tokens = self.tokens.get(..tokens).ok_or(TRUNCATED)?.into();
        Ok(Snapshot { model: ModelKey::Hash(self.model), backend: self.backend, tokens, fixed, kv })
    }
}

fn read_entry(source: &mut (impl Read + Seek), entry: &Entry) -> Result<Vec<u8>, EngineError> {
    source.seek(SeekFrom::Start(entry.offset)).map_err(EngineError::SnapshotIo)?;
    let mut bytes = vec![0; entry.bytes];
    read(source, &mut bytes)?;
    let is_whole = XxHash3_64::oneshot(&bytes) == entry.sum;
    if is_whole { Ok(bytes) } else { Err(corrupt("checksum")) }
}

fn read(source: &mut impl Read, out: &mut [u8]) -> Result<(), EngineError> {
    source.read_exact(out).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => TRUNCATED,
        _ => EngineError::SnapshotIo(error),
    })
}

const TRUNCATED: EngineError = corrupt("truncated");

const fn corrupt(what: &'static str) -> EngineError {
    EngineError::SnapshotCorrupt { what }
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, bytes: usize) -> Result<&'a [u8], EngineError> {
        let (head, rest) = self.0.split_at_checked(bytes).ok_or(TRUNCATED)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EngineError> {
        self.take(N)?.try_into().map_err(|_| TRUNCATED)
    }

    fn u32(&mut self) -> Result<u32, EngineError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, EngineError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn size(&mut self) -> Result<usize, EngineError> {
        usize::try_from(self.u32()?).map_err(|_| TRUNCATED)
    }

    fn long_size(&mut self) -> Result<usize, EngineError> {
        usize::try_from(self.u64()?).map_err(|_| TRUNCATED)
    }
}
