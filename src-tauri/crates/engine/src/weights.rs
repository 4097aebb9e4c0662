//! The model file: mapped read-only, validated, hashed on demand.
use crate::EngineError;
use chimera_gguf::{Gguf, Limits, ModelError, TensorInfo, ValidModel};
use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

pub(crate) struct WeightFile {
    path: PathBuf,
    map: Mmap,
    stamp: String,
    sha256: OnceLock<([u8; 32], String)>,
}

impl WeightFile {
    pub fn open(path: &Path) -> Result<Self, EngineError> {
        let unreadable = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => EngineError::ModelMissing { path: path.to_owned() },
            _ => EngineError::ModelUnreadable { path: path.to_owned(), source },
        };
        let file = File::open(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(unreadable(std::io::ErrorKind::IsADirectory.into()));
        }
        // SAFETY: the map is read-only and private. Chimera replaces a model file by rename and never writes into one, so
        // its bytes do not change under the map; a file that another program truncates meanwhile can end the process
        // (SIGBUS) but never yields a reference to freed memory. Every number in it is checked before use.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(unreadable)?;
        Ok(Self { path: path.to_owned(), map, stamp: stamp(path, &metadata), sha256: OnceLock::new() })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Parses and validates: nothing else looks at the bytes before this has said yes.
    pub fn validate(&self) -> Result<ValidModel, EngineError> {
        let malformed = |reason| EngineError::ModelMalformed { path: self.path.clone(), reason };
        let gguf = Gguf::parse(&self.map, &Limits::default()).map_err(malformed)?;
        ValidModel::from_gguf(gguf).map_err(|reason| match reason {
            ModelError::Architecture { found } => {
                EngineError::ForeignArchitecture { path: self.path.clone(), architecture: found }
            }
            reason => EngineError::ModelInvalid { path: self.path.clone(), reason },
        })
    }

    /// The bytes of a tensor of this file (empty for a tensor of another one).
    pub fn data(&self, tensor: &TensorInfo) -> &[u8] {
        tensor.data(&self.map).unwrap_or_default()
    }

    /// Gives the pages of the map back to the system: the packed copy is what is used from now on.
    pub fn release(&self) {
        self.release_part(&self.map);
    }

    /// The same for a part of what [`data`](Self::data) gave, as soon as it was packed. It may begin inside a page, whose
    /// other bytes are read again when they are touched.
    pub fn release_part(&self, part: &[u8]) {
        let offset = (part.as_ptr() as usize).wrapping_sub(self.map.as_ptr() as usize);
        if offset.checked_add(part.len()).is_none_or(|end| end > self.map.len()) {
            return;
        }
        // SAFETY: a read-only, file-backed map: dropped pages are read from the file again when they are touched.
        #[cfg(unix)]
        #[allow(unsafe_code)]
        let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, part.len()) };
    }

    /// Differs when the file was replaced or written to since.
    pub fn stamp(&self) -> &str {
        &self.stamp
    }

    /// The file's SHA-256 as it is known already; without effect once it was hashed.
    pub fn set_digest(&self, digest: [u8; 32]) {
        self.sha256.get_or_init(|| (digest, hex(&digest)));
    }

    /// SHA-256 as bytes; hashed by the first caller.
    pub fn digest(&self) -> &[u8; 32] {
        &self.hashed().0
    }

    /// The same in lower-case hex.
    pub fn sha256(&self) -> &str {
        &self.hashed().1
    }

    fn hashed(&self) -> &([u8; 32], String) {
        self.sha256.get_or_init(|| {
            let digest: [u8; 32] = Sha256::digest(&self.map).into();
            self.release();
            (digest, hex(&digest))
        })
    }
}

fn hex(digest: &[u8; 32]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Size, time of the last change and, where the system tells, the file's own number. (`ctime` cannot be set by hand.)
fn stamp(path: &Path, metadata: &std::fs::Metadata) -> String {
    let modified = metadata.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    let modified = modified.unwrap_or_default().as_nanos();
    #[cfg(unix)]
    let own = {
        use std::os::unix::fs::MetadataExt;
        format!("{}.{} {} {}", metadata.ctime(), metadata.ctime_nsec(), metadata.dev(), metadata.ino())
    };
    #[cfg(not(unix))]
    let own = "-";
    format!("{} {modified} {own} {}", metadata.len(), path.display())
}
