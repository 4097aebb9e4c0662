//! A validated file as a source of vectors and packed matrices.
use super::super::fast::{FastNet, Scales, Shapes};
use super::super::rope::RopeSpec;
use super::main_type;
use crate::EngineError;
use crate::kernels::{CpuTier, KernelError, KvType, PackedMatrix, Pool, WeightType};
use crate::model::fast::Block;
use crate::weights::WeightFile;
use chimera_gguf::{GgmlType, TensorInfo, ValidModel};
use std::sync::Mutex;

pub(super) struct Source<'a> {
    file: &'a WeightFile,
    pub valid: &'a ValidModel,
    tier: CpuTier,
    pool: Pool,
    /// Packed before all others: it is the largest, and while a matrix is packed its pages of the file are in memory too.
    embedding_vd: Option<PackedMatrix>,
}

impl<'a> Source<'a> {
    pub fn new(
        file: &'a WeightFile,
        valid: &'a ValidModel,
        tier: CpuTier,
        threads: usize,
    ) -> Result<Self, EngineError> {
        let mut source = Self { file, valid, tier, pool: Pool::new(threads), embedding_vd: None };
        source.embedding_vd = Some(source.matrix("token_embd.weight")?);
        Ok(source)
    }

    /// Embedding, head and the last norm, around a family's blocks.
    pub fn finish(mut self, blocks: Vec<Block>, shapes: Shapes) -> Result<FastNet, EngineError> {
        let config = &self.valid.config;
        let embedding_vd = match self.embedding_vd.take() {
            Some(packed) => packed,
            None => self.matrix("token_embd.weight")?,
        };
        Ok(FastNet {
            tier: self.tier,
            scales: Scales {
                eps: config.rms_eps,
                embedding: config.embedding_scale,
                residual: config.residual_scale,
                logit: config.logit_scale,
            },
            embedding_vd,
            head_vd: (!config.tied_embedding).then(|| self.matrix("output.weight")).transpose()?,
            output_norm_d: self.vector("output_norm.weight"),
            blocks,
            shapes,
            rope: config.rope.as_ref().map(|rope| RopeSpec::new(rope, &self.vector("rope_freqs.weight"))),
            scratch: Mutex::default(),
            pool: self.pool,
        })
    }

    /// An F32 tensor's values; empty if the file does not have it (validation has asked for all that must be there).
    pub fn vector(&self, name: &str) -> Vec<f32> {
        let bytes = self.valid.gguf.tensor(name).map_or(&[][..], |t| self.file.data(t));
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    pub fn matrix(&self, name: &str) -> Result<PackedMatrix, EngineError> {
        let tensor = self.tensor(name)?;
        let (cols, rows) = (tensor.dims[0], tensor.dims.iter().skip(1).product());
        // At no time does more than a band of one tensor lie in memory twice.
        self.pack(tensor, rows, cols, self.file.data(tensor), &|part| self.file.release_part(part))
    }

    /// As [`Self::matrix`], with row `order(i)` of the file at i.
    pub fn reordered(&self, name: &str, order: &dyn Fn(usize) -> usize) -> Result<PackedMatrix, EngineError> {
        let tensor = self.tensor(name)?;
        let (cols, rows): (usize, usize) = (tensor.dims[0], tensor.dims.iter().skip(1).product());
        let data = self.file.data(tensor);
        let size = data.len() / rows;
        let moved: Vec<u8> = (0..rows).flat_map(|i| &data[order(i) * size..][..size]).copied().collect();
        let packed = self.pack(tensor, rows, cols, &moved, &|_| {});
        self.file.release_part(data);
        packed
    }

    /// The `n` matrices of a tensor of three dimensions.
    pub fn stack(&self, name: &str, n: usize) -> Result<Vec<PackedMatrix>, EngineError> {
        let tensor = self.tensor(name)?;
        let (cols, rows): (usize, usize) = (tensor.dims[0], tensor.dims.iter().skip(1).product());
        let data = self.file.data(tensor);
        let parts = data.chunks_exact(data.len() / n);
        let release = |part: &[u8]| self.file.release_part(part);
        parts.map(|part| self.pack(tensor, rows / n, cols, part, &release)).collect()
    }

    fn tensor(&self, name: &str) -> Result<&TensorInfo, EngineError> {
        self.valid.gguf.tensor(name).ok_or_else(|| {
            let reason = chimera_gguf::ModelError::MissingTensor { name: name.to_owned() };
            EngineError::ModelInvalid { path: self.file.path().to_owned(), reason }
        })
    }

    fn pack(
        &self,
        tensor: &TensorInfo,
        rows: usize,
        cols: usize,
        data: &[u8],
        release: &dyn Fn(&[u8]),
    ) -> Result<PackedMatrix, EngineError> {
        let dtype = weight_type(tensor)?;
        let packed = PackedMatrix::pack_in_bands(dtype, rows, cols, data, self.tier, &self.pool, release);
        packed.map_err(|source| match source {
            KernelError::OutOfMemory { bytes } => EngineError::OutOfMemory { bytes },
            source => EngineError::UnsupportedShape { tensor: tensor.name.clone(), source },
        })
    }
}

/// How keys and values are held: rounding them to f16 would dominate the error of an f32 model, and is lost in that of any
/// other.
pub(super) fn kv_type(valid: &ValidModel) -> KvType {
    if main_type(valid) == GgmlType::F32 { KvType::F32 } else { KvType::F16 }
}

/// Every matrix is of a type that the fast backend has a kernel for; the first that is not, else `Ok`.
pub fn check_types(model: &ValidModel) -> Result<(), EngineError> {
    model
        .gguf
        .tensors()
        .iter()
        .filter(|tensor| tensor.dims.len() > 1)
        .try_for_each(|t| weight_type(t).map(drop))
}

pub(super) fn weight_type(tensor: &TensorInfo) -> Result<WeightType, EngineError> {
    match tensor.dtype {
        GgmlType::F32 => Ok(WeightType::F32),
        GgmlType::F16 => Ok(WeightType::F16),
        GgmlType::Bf16 => Ok(WeightType::Bf16),
        GgmlType::Q4_0 => Ok(WeightType::Q4_0),
        GgmlType::Q4_1 => Ok(WeightType::Q4_1),
        GgmlType::Q5_0 => Ok(WeightType::Q5_0),
        GgmlType::Q5_1 => Ok(WeightType::Q5_1),
        GgmlType::Q8_0 => Ok(WeightType::Q8_0),
        GgmlType::Q4K => Ok(WeightType::Q4K),
        GgmlType::Q5K => Ok(WeightType::Q5K),
        GgmlType::Q6K => Ok(WeightType::Q6K),
        other => {
            Err(EngineError::UnsupportedType { tensor: tensor.name.clone(), dtype: other.name().to_owned() })
        }
    }
}
