//! What one sequence remembers: recurrent states, convolution windows, keys and values.
use super::FastNet;
use crate::EngineError;
use crate::kernels::{CONV_STATE, KernelError, KvCache, KvType, SsmShape};
use crate::model::sequence::{Saved, save_f32s};
use crate::state::KvPart;
use std::ops::Range;
use std::sync::Arc;

/// The shapes of everything a sequence of this network remembers.
#[derive(Clone, Debug)]
pub(in crate::model) struct Shapes {
    pub mamba: Vec<SsmShape>,
    pub kv: Vec<KvShape>,
    pub kv_type: KvType,
}

#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct KvShape {
    pub heads: usize,
    pub head_dim: usize,
}

impl Shapes {
    pub fn new(kv_type: KvType) -> Self {
        Self { mamba: Vec::new(), kv: Vec::new(), kv_type }
    }

    /// Room for one more Mamba part; returns its index.
    pub fn add_mamba(&mut self, shape: SsmShape) -> usize {
        self.mamba.push(shape);
        self.mamba.len() - 1
    }

    /// Room for one more attention part; returns its index.
    pub fn add_kv(&mut self, shape: KvShape) -> usize {
        self.kv.push(shape);
        self.kv.len() - 1
    }
}

pub(in crate::model) struct MambaState {
    /// `[3][conv_dim]`, oldest first.
    pub conv: Vec<f32>,
    pub ssm_hnp: Vec<f32>,
}

pub(in crate::model) struct State {
    pub mamba: Vec<MambaState>,
    pub kv: Vec<KvCache>,
    /// Tokens read.
    pub position: usize,
    /// The residual stream of the rows whose logits may be asked for.
    pub x_md: Vec<f32>,
}

impl State {
    pub fn new(shapes: &Shapes) -> Result<Self, KernelError> {
        let mamba = shapes.mamba.iter().map(|shape| MambaState {
            conv: vec![0.0; CONV_STATE * shape.conv_dim()],
            ssm_hnp: vec![0.0; shape.state_len()],
        });
        let kv = shapes.kv.iter().map(|s| KvCache::new(shapes.kv_type, s.heads, s.head_dim));
        Ok(Self { mamba: mamba.collect(), kv: kv.collect::<Result<_, _>>()?, position: 0, x_md: Vec::new() })
    }

    /// Bytes that [`reserve`](Self::reserve) would take.
    pub fn lacks(&self, more: usize) -> u64 {
        self.kv.iter().map(|cache| cache.lacks(more) as u64).sum()
    }

    /// Room for the keys and values of `more` tokens: asked for before a pass, so that the want of it is one sequence's error.
    pub fn reserve(&mut self, more: usize) -> Result<(), KernelError> {
        self.kv.iter_mut().try_for_each(|cache| cache.reserve(more))
    }
}

/// A sequence and the network it belongs to.
pub(crate) struct FastSequence {
    net: Arc<FastNet>,
    pub(in crate::model) state: State,
}

impl FastSequence {
    pub(in crate::model) fn new(net: Arc<FastNet>) -> Result<Self, EngineError> {
        Ok(Self { state: State::new(&net.shapes)?, net })
    }

    pub fn save_fixed(&self, out: &mut Vec<u8>) {
        let d = self.net.d_model();
        save_f32s(&self.state.x_md[self.state.x_md.len().saturating_sub(d)..], out);
        for mamba in &self.state.mamba {
            save_f32s(&mamba.conv, out);
            save_f32s(&mamba.ssm_hnp, out);
        }
    }

    pub fn save_kv(&self, positions: Range<usize>, out: &mut Vec<u8>) {
        self.state.kv.iter().for_each(|cache| cache.save(positions.clone(), out));
    }

    pub fn load(&mut self, fixed: &[u8], kv: &[KvPart]) -> Result<(), EngineError> {
        let (mut saved, state) = (Saved(fixed), &mut self.state);
        state.x_md.resize(self.net.d_model(), 0.0);
        saved.f32s(&mut state.x_md)?;
        for mamba in &mut state.mamba {
            saved.f32s(&mut mamba.conv)?;
            saved.f32s(&mut mamba.ssm_hnp)?;
        }
        saved.finish()?;
        state.position = kv.iter().map(KvPart::positions).sum();
        for cache in &mut state.kv {
            cache.truncate(0);
            cache.reserve(state.position)?;
        }
        kv.iter().try_for_each(|part| load_kv(&mut state.kv, part))
    }
}

fn load_kv(caches: &mut [KvCache], part: &KvPart) -> Result<(), EngineError> {
    let mut saved = Saved(part.bytes());
    for cache in caches {
        let bytes = part.positions().saturating_mul(cache.position_bytes());
        cache.extend_saved(part.positions(), saved.take(bytes)?)?;
    }
    saved.finish()
}
