//! What the model remembers of each conversation, on disk: one file a conversation in `<data dir>/snapshots/`, so that
//! opening it again need not read it again.
//!
//! A cache that is safe to lose: what is damaged, foreign or too old is removed and the conversation read anew; nothing
//! here is ever an error for the person. Files are written by a thread of their own, whole or not at all (temporary
//! file, fsync, rename), within a budget of bytes over all conversations; the least recently written go first. They hold
//! what was said as token ids and states, so a deleted conversation's file is overwritten and removed before its rows.
//!
//! A file belongs to the model whose SHA-256 it names. Hashing a large model takes a while, so the hash is remembered
//! in `model` with the model file's stamp (size, times, inode).
mod files;
mod measure;
mod writer;

pub use measure::{Reopening, measure_reopening};

use chimera_engine::{EngineError, Model, Snapshot, SnapshotFile, TokenId};
use files::Files;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use uuid::Uuid;
use writer::Writer;

/// Bytes that a file may reach by earlier turns than the last; the newest state and the turn before are always in it.
pub const FILE_ALLOWANCE: usize = 32 << 20;

/// Bytes of all files together, unless the caller says otherwise.
pub const BUDGET: u64 = 1 << 30;

/// A snapshot that saves fewer tokens than this is not worth its reading.
const WORTH_READING: usize = 32;

pub struct SnapshotStore {
    files: Arc<Files>,
    writer: Writer,
}

impl SnapshotStore {
    /// One process at a time may have it open (the history's lock sees to that). Makes the directory with the first file.
    pub fn open(dir: impl Into<PathBuf>, budget: u64) -> std::io::Result<Arc<Self>> {
        let files = Arc::new(Files::new(dir.into(), budget));
        files.remove_unfinished();
        Ok(Arc::new(Self { writer: Writer::start(Arc::clone(&files))?, files }))
    }

    /// The best snapshot of the conversation on disk, if it covers clearly more of `prompt` than `known` tokens.
    pub fn read(
        &self,
        conversation: Uuid,
        model: &Model,
        prompt: &[TokenId],
        known: usize,
    ) -> Option<Recalled> {
        let path = self.files.path(conversation);
        match read(&path, model, prompt, known) {
            Ok(found) => found,
            Err(EngineError::SnapshotIo(error)) => {
                tracing::warn!(%conversation, %error, "a snapshot cannot be read");
                None
            }
            Err(error) => {
                tracing::info!(%conversation, %error, "a snapshot is removed");
                self.files.erase(&path);
                None
            }
        }
    }

    /// Hands the snapshots (see `Session::resumable`) to the writing thread. Newer ones replace those that still wait.
    pub fn write(&self, conversation: Uuid, snapshots: Vec<Snapshot>) {
        if self.files.budget() > 0 && !snapshots.is_empty() {
            self.writer.write(conversation, snapshots);
        }
    }

    /// Erases what there is of the conversation, for good: nothing is written for it any more. Waits for its file being
    /// written.
    pub fn remove(&self, conversation: Uuid) {
        self.writer.bar(conversation);
        self.files.erase(&self.files.path(conversation));
    }

    /// Erases the files of conversations that are no more, for example because the process ended while one was deleted.
    pub fn keep_only(&self, conversations: &[Uuid]) {
        let gone = self.files.conversations().into_iter().filter(|id| !conversations.contains(id));
        gone.for_each(|id| self.files.erase(&self.files.path(id)));
    }

    /// Lets `model` know its hash if it is remembered; else it is computed in the background. Files of other models are
    /// removed there.
    pub fn identify(&self, model: &Arc<Model>) {
        if let Some(digest) = self.files.digest(model.file_stamp()) {
            model.remember_digest(digest);
        }
        self.writer.identify(Arc::clone(model));
    }

    /// Returns when everything handed over so far is on disk or was given up.
    pub fn flush(&self) {
        self.writer.flush();
    }

    pub fn dir(&self) -> &Path {
        self.files.dir()
    }
}

/// What was found of a conversation.
pub struct Recalled {
    /// The longest that fits the prompt.
    pub snapshot: Snapshot,
    file: SnapshotFile<BufReader<File>>,
}

impl Recalled {
    /// The shorter ones of the file, longest first; what cannot be read is left out.
    pub fn earlier(mut self) -> Vec<Snapshot> {
        let shorter: Vec<usize> =
            self.file.token_counts().filter(|n| *n < self.snapshot.token_count()).collect();
        shorter.into_iter().filter_map(|tokens| self.file.read(tokens).ok()).collect()
    }
}

fn read(
    path: &Path,
    model: &Model,
    prompt: &[TokenId],
    known: usize,
) -> Result<Option<Recalled>, EngineError> {
    let source = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(EngineError::SnapshotIo(error)),
    };
    let mut file = SnapshotFile::open(source)?;
    if file.model_sha256() != model.digest() {
        return Err(EngineError::SnapshotForeign);
    }
    match file.longest_prefix(prompt) {
        tokens if tokens < known + WORTH_READING => Ok(None),
        tokens => Ok(Some(Recalled { snapshot: file.read(tokens)?, file })),
    }
}
