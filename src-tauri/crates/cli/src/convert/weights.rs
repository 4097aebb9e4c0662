//! The safetensors file or shards of a directory: headers checked first, tensors read one at a time.
use super::{CheckpointError, json};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// As the safetensors crate: larger headers are refused before they are read.
const MAX_HEADER_BYTES: u64 = 100_000_000;

pub struct Weights {
    shards: Vec<Shard>,
    /// Tensor → (shard, description).
    tensors: BTreeMap<String, (usize, TensorInfo)>,
}

struct Shard {
    path: PathBuf,
    file: File,
    data_start: u64,
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    pub fn open(dir: &Path) -> Result<Self, CheckpointError> {
        let single = dir.join("model.safetensors");
        if single.is_file() {
            return Self::open_files(vec![single]);
        }
        let index: Option<Index> = json::read_optional(&dir.join("model.safetensors.index.json"))?;
        let Some(index) = index else {
            return Err(CheckpointError::NoWeights { dir: dir.to_owned() });
        };
        Self::open_sharded(dir, &index)
    }

    fn open_sharded(dir: &Path, index: &Index) -> Result<Self, CheckpointError> {
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort_unstable();
        names.dedup();
        if let Some(name) = names.iter().find(|n| Path::new(n).file_name() != Some(n.as_ref())) {
            return Err(CheckpointError::ShardName { name: (**name).clone() });
        }
        let weights = Self::open_files(names.iter().map(|n| dir.join(n)).collect())?;
        let place = |tensor: &str| weights.tensors.get(tensor).and_then(|(shard, _)| names.get(*shard));
        let misplaced = index.weight_map.iter().find(|(tensor, file)| place(tensor) != Some(file));
        let unlisted = weights.tensors.keys().find(|tensor| !index.weight_map.contains_key(*tensor));
        match misplaced.map(|(tensor, _)| tensor).or(unlisted) {
            Some(tensor) => Err(CheckpointError::IndexMismatch { tensor: tensor.clone() }),
            None => Ok(weights),
        }
    }

    fn open_files(paths: Vec<PathBuf>) -> Result<Self, CheckpointError> {
        let mut shards = Vec::new();
        let mut tensors = BTreeMap::new();
        for path in paths {
            let (shard, infos) = open_shard(path)?;
            for (tensor, info) in infos {
                if tensors.insert(tensor.clone(), (shards.len(), info)).is_some() {
                    return Err(CheckpointError::DuplicateTensor { tensor });
                }
            }
            shards.push(shard);
        }
        Ok(Self { shards, tensors })
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|(_, info)| info.shape.as_slice())
    }

    /// All values of a tensor, row-major.
    pub fn read_f32(&mut self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let missing = || CheckpointError::MissingTensor { tensor: name.to_owned() };
        let (shard, info) = self.tensors.get(name).ok_or_else(missing)?;
        let shard = self.shards.get_mut(*shard).ok_or_else(missing)?;
        let bytes = shard.read(info.data_offsets)?;
        let values = decode(info.dtype, &bytes).ok_or_else(|| CheckpointError::WrongDtype {
            tensor: name.to_owned(),
            dtype: format!("{:?}", info.dtype),
        })?;
        match values.iter().position(|v| !v.is_finite()) {
            Some(index) => Err(CheckpointError::NotFinite { tensor: name.to_owned(), index }),
            None => Ok(values),
        }
    }
}

impl Shard {
    fn read(&mut self, (start, end): (usize, usize)) -> Result<Vec<u8>, CheckpointError> {
        let mut bytes = vec![0; end.saturating_sub(start)];
        let offset = self.data_start + start as u64;
        let read = self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(|source| CheckpointError::unreadable(&self.path, source))?;
        Ok(bytes)
    }
}

fn open_shard(path: PathBuf) -> Result<(Shard, HashMap<String, TensorInfo>), CheckpointError> {
    let io = |source| CheckpointError::unreadable(&path, source);
    let malformed = |reason: String| CheckpointError::Safetensors { file: path.clone(), reason };
    let mut file = File::open(&path).map_err(io)?;
    let file_len = file.metadata().map_err(io)?.len();
    let mut prefix = [0; 8];
    file.read_exact(&mut prefix).map_err(io)?;
    let header_len = u64::from_le_bytes(prefix);
    if header_len > MAX_HEADER_BYTES.min(file_len.saturating_sub(8)) {
        return Err(malformed(format!("a header of {header_len} bytes in a file of {file_len}")));
    }
    let mut header = vec![0; header_len as usize];
    file.read_exact(&mut header).map_err(io)?;
    // Deserializing checks that offsets are contiguous and agree with shapes and types.
    let metadata: Metadata = serde_json::from_slice(&header).map_err(|e| malformed(e.to_string()))?;
    let data_start = 8 + header_len;
    let expected = data_start + metadata.data_len() as u64;
    if expected != file_len {
        return Err(CheckpointError::WrongLength { file: path, found: file_len, expected });
    }
    let infos = metadata.tensors().into_iter().map(|(name, info)| (name, info.clone())).collect();
    Ok((Shard { path, file, data_start }, infos))
}

fn decode(dtype: Dtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let (pairs, _) = bytes.as_chunks::<2>();
    Some(match dtype {
        Dtype::F32 => bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => pairs.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => pairs.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        _ => return None,
    })
}
