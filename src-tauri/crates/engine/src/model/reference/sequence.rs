//! What one sequence remembers, and how it is saved.
use super::super::sequence::{Rows, Saved, save_f32s};
use super::{CPU, Part, ReferenceNet};
use crate::state::KvPart;
use crate::{EngineError, TokenId};
use candle_core::{DType, IndexOp, Result, Tensor};
use std::ops::Range;
use std::sync::Arc;

/// The last K-1 inputs of the convolution, oldest first, and the recurrent state.
pub(super) struct MambaState {
    pub conv_kc: Tensor,
    pub ssm_hpn: Tensor,
}

/// Keys (turned by RoPE) and values.
pub(super) struct KvState {
    pub k_cts: Tensor,
    pub v_cts: Tensor,
}

pub(super) struct PartState {
    pub mamba: Option<MambaState>,
    pub attention: Option<KvState>,
}

pub(crate) struct ReferenceSequence {
    net: Arc<ReferenceNet>,
    parts: Vec<PartState>,
    position: usize,
    /// The residual stream of the rows whose logits may be asked for.
    x_md: Option<Tensor>,
}

impl PartState {
    fn new(part: &Part) -> Result<Self> {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, CPU);
        let mamba = part.mamba.as_ref().map(|w| {
            Ok::<_, candle_core::Error>(MambaState {
                conv_kc: zeros(&[w.ssm.conv_kernel - 1, w.ssm.conv_dim()])?,
                ssm_hpn: zeros(&[w.ssm.n_head, w.ssm.head_dim, w.ssm.d_state])?,
            })
        });
        let attention = part.attention.as_ref().map(|w| {
            let empty = || zeros(&[w.kv_heads, 0, w.head_dim]);
            Ok::<_, candle_core::Error>(KvState { k_cts: empty()?, v_cts: empty()? })
        });
        Ok(Self { mamba: mamba.transpose()?, attention: attention.transpose()? })
    }

    fn kv(&self) -> impl Iterator<Item = &Tensor> {
        self.attention.iter().flat_map(|s| [&s.k_cts, &s.v_cts])
    }

    fn kv_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.attention.iter_mut().flat_map(|s| [&mut s.k_cts, &mut s.v_cts])
    }

    /// What does not grow.
    fn fixed(&self) -> impl Iterator<Item = &Tensor> {
        self.mamba.iter().flat_map(|s| [&s.conv_kc, &s.ssm_hpn])
    }

    fn fixed_mut(&mut self) -> impl Iterator<Item = &mut Tensor> {
        self.mamba.iter_mut().flat_map(|s| [&mut s.conv_kc, &mut s.ssm_hpn])
    }
}

fn load_tensor(saved: &mut Saved<'_>, dims: &[usize]) -> std::result::Result<Tensor, EngineError> {
    let mut values = vec![0.0; dims.iter().product()];
    saved.f32s(&mut values)?;
    Ok(Tensor::from_vec(values, dims, CPU)?)
}

impl ReferenceSequence {
    pub(in crate::model) fn new(net: Arc<ReferenceNet>) -> std::result::Result<Self, EngineError> {
        let parts = net.blocks.iter().map(|block| PartState::new(&block.part));
        let parts = parts.collect::<Result<_>>()?;
        Ok(Self { net, parts, position: 0, x_md: None })
    }

    pub fn read(&mut self, tokens: &[TokenId], rows: Rows) -> std::result::Result<(), EngineError> {
        let x_md = self.net.forward(tokens, self.position, &mut self.parts)?;
        self.x_md = Some(match rows {
            Rows::All => x_md,
            Rows::Last => x_md.narrow(0, x_md.dim(0)? - 1, 1)?,
        });
        self.position += tokens.len();
        Ok(())
    }

    pub fn logits(&self, out: &mut Vec<f32>) -> std::result::Result<(), EngineError> {
        let Some(x_md) = &self.x_md else { return Err(EngineError::EmptyPrompt) };
        *out = self.net.logits(x_md)?.flatten_all()?.to_vec1()?;
        Ok(())
    }

    pub fn save_fixed(&self, out: &mut Vec<u8>) -> std::result::Result<(), EngineError> {
        if let Some(x_md) = &self.x_md {
            save_f32s(&x_md.i(x_md.dim(0)? - 1)?.to_vec1::<f32>()?, out);
        }
        for tensor in self.parts.iter().flat_map(PartState::fixed) {
            save_f32s(&tensor.flatten_all()?.to_vec1::<f32>()?, out);
        }
        Ok(())
    }

    pub fn save_kv(
        &self,
        positions: Range<usize>,
        out: &mut Vec<u8>,
    ) -> std::result::Result<(), EngineError> {
        for tensor in self.parts.iter().flat_map(PartState::kv) {
            let part = tensor.narrow(1, positions.start, positions.len())?;
            save_f32s(&part.flatten_all()?.to_vec1::<f32>()?, out);
        }
        Ok(())
    }

    pub fn load(&mut self, fixed: &[u8], kv: &[KvPart]) -> std::result::Result<(), EngineError> {
        let mut saved = Saved(fixed);
        self.x_md = Some(load_tensor(&mut saved, &[1, self.net.config.d_model])?);
        for tensor in self.parts.iter_mut().flat_map(PartState::fixed_mut) {
            *tensor = load_tensor(&mut saved, tensor.dims())?;
        }
        saved.finish()?;
        let mut parts: Vec<Saved<'_>> = kv.iter().map(|part| Saved(part.bytes())).collect();
        for tensor in self.parts.iter_mut().flat_map(PartState::kv_mut) {
            let (heads, head_dim) = (tensor.dim(0)?, tensor.dim(2)?);
            let read = |(saved, part): (&mut Saved<'_>, &KvPart)| {
                load_tensor(saved, &[heads, part.positions(), head_dim])
            };
            let pieces = parts.iter_mut().zip(kv).map(read).collect::<std::result::Result<Vec<_>, _>>()?;
            *tensor = Tensor::cat(&pieces, 1)?;
        }
        self.position = kv.iter().map(KvPart::positions).sum();
        parts.into_iter().try_for_each(Saved::finish)
    }
}
