//! GGUF files on disk: read and validated whole; written beside their target, fsynced, renamed.
use crate::error::CliError;
use chimera_gguf::{GgmlType, Gguf, Limits, ValidModel};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The bytes of a file that passed the strict parser and the model contract.
pub struct Loaded {
    pub bytes: Vec<u8>,
    pub model: ValidModel,
}

/// Reads rather than maps: the path is the user's, and a mapped file that shrinks would kill the process.
pub fn load(path: &Path) -> Result<Loaded, CliError> {
    let (bytes, gguf) = parse(path)?;
    let model =
        ValidModel::from_gguf(gguf).map_err(|source| CliError::Contract { path: path.to_owned(), source })?;
    Ok(Loaded { bytes, model })
}

/// As [`load`], without the demand that the file is a model of ours.
pub fn parse(path: &Path) -> Result<(Vec<u8>, Gguf), CliError> {
    let bytes = std::fs::read(path).map_err(|source| match source.kind() {
        std::io::ErrorKind::NotFound => CliError::ModelMissing { path: path.to_owned() },
        _ => CliError::read(path, source),
    })?;
    let gguf = Gguf::parse(&bytes, &Limits::default())
        .map_err(|source| CliError::Malformed { path: path.to_owned(), source })?;
    Ok((bytes, gguf))
}

/// A file that does not exist under its name before it is whole and durable.
pub struct NewFile {
    target: PathBuf,
    temporary: NamedTempFile,
}

impl NewFile {
    pub fn create(target: &Path) -> Result<Self, CliError> {
        let temporary =
            tempfile::Builder::new().prefix(".chimera-").suffix(".part").tempfile_in(directory(target));
        let temporary = temporary.map_err(|source| CliError::write(target, source))?;
        Ok(Self { target: target.to_owned(), temporary })
    }

    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    pub fn writer(&mut self) -> BufWriter<&mut File> {
        BufWriter::with_capacity(1 << 20, self.temporary.as_file_mut())
    }

    /// fsync, rename, fsync the directory.
    pub fn publish(self) -> Result<(), CliError> {
        let Self { target, mut temporary } = self;
        let failed = |source| CliError::write(&target, source);
        temporary.flush().and_then(|()| temporary.as_file().sync_all()).map_err(failed)?;
        make_readable(temporary.as_file()).map_err(failed)?;
        temporary.persist(&target).map_err(|e| failed(e.error))?;
        sync_directory(directory(&target)).map_err(failed)
    }
}

fn directory(target: &Path) -> &Path {
    target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Temporary files are private (0600); a published one is an ordinary file.
#[cfg(unix)]
fn make_readable(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}
#[cfg(not(unix))]
fn make_readable(_: &File) -> std::io::Result<()> {
    Ok(())
}

/// Makes the rename itself durable. Windows has no such call.
#[cfg(unix)]
fn sync_directory(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}
#[cfg(not(unix))]
fn sync_directory(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Values as little-endian F32, F16 or BF16; the first value that becomes infinite is the error.
pub fn encode_floats(values: &[f32], dtype: GgmlType) -> Result<Vec<u8>, f32> {
    let infinite = |narrow: &dyn Fn(f32) -> f32| values.iter().copied().find(|&v| !narrow(v).is_finite());
    let (bad, bytes): (_, Vec<u8>) = match dtype {
        GgmlType::F16 => (
            infinite(&|v| half::f16::from_f32(v).to_f32()),
            values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
        ),
        GgmlType::Bf16 => (
            infinite(&|v| half::bf16::from_f32(v).to_f32()),
            values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect(),
        ),
        _ => (infinite(&|v| v), values.iter().flat_map(|v| v.to_le_bytes()).collect()),
    };
    bad.map_or(Ok(bytes), Err)
}

/// The values of an F32, F16 or BF16 tensor; `None` for any other type.
pub fn decode_floats(bytes: &[u8], dtype: GgmlType) -> Option<Vec<f32>> {
    let (pairs, _) = bytes.as_chunks::<2>();
    Some(match dtype {
        GgmlType::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        GgmlType::F16 => pairs.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        GgmlType::Bf16 => pairs.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
}
