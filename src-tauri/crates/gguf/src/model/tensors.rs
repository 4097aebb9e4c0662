//! Which tensors a model has, and of which shape and type.
use super::{Block, Ffn, Mixer, ModelConfig, ModelError, SsmConfig};
use crate::{GgmlType, Gguf, TensorInfo};
use std::collections::HashSet;

/// What a tensor's elements may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    /// Norms, biases and the recurrence: llama.cpp demands F32 here.
    F32,
    /// A matrix of any type the engine can multiply with.
    Matrix,
}

struct Expected {
    name: String,
    dims: Vec<usize>,
    /// A second accepted spelling of the same shape.
    or_dims: Option<Vec<usize>>,
    allowed: Allowed,
    required: bool,
}

/// Checks that exactly the contract's tensors are there.
pub(super) fn check(gguf: &Gguf, config: &ModelConfig) -> Result<(), ModelError> {
    let contract = contract(config);
    for expected in &contract {
        match gguf.tensor(&expected.name) {
            Some(found) => check_one(found, expected)?,
            None if expected.required => {
                return Err(ModelError::MissingTensor { name: expected.name.clone() });
            }
            None => {}
        }
    }
    let known: HashSet<&str> = contract.iter().map(|e| e.name.as_str()).collect();
    match gguf.tensors().iter().find(|t| !known.contains(t.name.as_str())) {
        Some(unknown) => Err(ModelError::UnknownTensor { name: unknown.name.clone() }),
        None => Ok(()),
    }
}

fn check_one(found: &TensorInfo, expected: &Expected) -> Result<(), ModelError> {
    if found.dims != expected.dims && Some(&found.dims) != expected.or_dims.as_ref() {
        return Err(ModelError::WrongShape {
            name: found.name.clone(),
            found: found.dims.clone(),
            expected: expected.dims.clone(),
        });
    }
    let (ok, wanted) = match expected.allowed {
        Allowed::F32 => (found.dtype == GgmlType::F32, "F32"),
        Allowed::Matrix => (is_matrix_type(found.dtype), "F32, F16, BF16 or a Q4 to Q8 or K quant"),
    };
    if !ok {
        return Err(ModelError::WrongDtype {
            name: found.name.clone(),
            found: found.dtype,
            expected: wanted,
        });
    }
    Ok(())
}

/// Types that hold weights. Q8_1 and Q8_K are for activations, I* and F64 are no weights, IQ*, TQ* and MXFP4 have
/// no dequantizer in the engine.
fn is_matrix_type(dtype: GgmlType) -> bool {
    use GgmlType::{Bf16, F16, F32, Q2K, Q3K, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    matches!(dtype, F32 | F16 | Bf16 | Q4_0 | Q4_1 | Q5_0 | Q5_1 | Q8_0 | Q2K | Q3K | Q4K | Q5K | Q6K)
}

/// Every tensor of a model with this configuration. Dimensions are `ne`, the fastest first.
fn contract(config: &ModelConfig) -> Vec<Expected> {
    let (d, vocab) = (config.d_model, config.vocab_size);
    let mut out = vec![
        matrix("token_embd.weight", d, vocab),
        vector("output_norm.weight", d),
        Expected { required: false, ..matrix("output.weight", d, vocab) },
    ];
    if let Some(rope) = config.rope.as_ref().filter(|_| config.family.may_have_freq_factors()) {
        let pairs = rope.n_rot.checked_div(2).unwrap_or_default();
        out.push(Expected { required: false, ..vector("rope_freqs.weight", pairs) });
    }
    for (i, part) in config.layers.iter().enumerate() {
        block(&mut out, i, *part, config);
    }
    out
}

fn block(out: &mut Vec<Expected>, i: usize, block: Block, config: &ModelConfig) {
    let d = config.d_model;
    let name = |part: &str| format!("blk.{i}.{part}");
    if let Some(mixer) = block.mixer {
        out.push(vector(name("attn_norm.weight"), d));
        mixing(out, &name, mixer, config);
    }
    if let Some(width) = block.ffn {
        out.push(vector(config.family.ffn_norm(i), d));
        ffn(out, &name, width, d);
    }
}

fn mixing(out: &mut Vec<Expected>, name: &dyn Fn(&str) -> String, mixer: Mixer, config: &ModelConfig) {
    if let Some(ssm) = config.ssm.as_ref().filter(|_| mixer.has_mamba()) {
        mamba(out, name, ssm, config);
    }
    if let Some(n_kv) = mixer.n_kv() {
        attention(out, name, n_kv, config);
    }
}

fn ffn(out: &mut Vec<Expected>, name: &dyn Fn(&str) -> String, ffn: Ffn, d: usize) {
    let mut gated = |suffix: &str, width: usize| {
        out.push(matrix(name(&format!("ffn_gate{suffix}.weight")), d, width));
        out.push(matrix(name(&format!("ffn_up{suffix}.weight")), d, width));
        out.push(matrix(name(&format!("ffn_down{suffix}.weight")), width, d));
    };
    match ffn {
        Ffn::Gated { width } => gated("", width),
        Ffn::Squared { width } => {
            out.push(matrix(name("ffn_up.weight"), d, width));
            out.push(matrix(name("ffn_down.weight"), width, d));
        }
        Ffn::Experts { width, experts, shared, .. } => {
            if shared > 0 {
                gated("_shexp", shared);
            }
            let stack = |part: &str, columns, rows| Expected {
                dims: vec![columns, rows, experts],
                ..matrix(name(part), columns, rows)
            };
            out.push(matrix(name("ffn_gate_inp.weight"), d, experts));
            out.push(stack("ffn_gate_exps.weight", d, width));
            out.push(stack("ffn_up_exps.weight", d, width));
            out.push(stack("ffn_down_exps.weight", width, d));
        }
    }
}

fn mamba(out: &mut Vec<Expected>, name: &dyn Fn(&str) -> String, ssm: &SsmConfig, config: &ModelConfig) {
    let (d, family) = (config.d_model, config.family);
    let per_group = ssm.d_inner.checked_div(ssm.n_group).unwrap_or_default();
    let f32s = |part: &str, dims: Vec<usize>| Expected {
        name: name(part),
        dims,
        or_dims: None,
        allowed: Allowed::F32,
        required: true,
    };
    out.push(matrix(name("ssm_in.weight"), d, ssm.d_in_proj()));
    out.push(f32s("ssm_conv1d.weight", vec![ssm.conv_kernel, ssm.conv_dim()]));
    let bias = vector(name("ssm_conv1d.bias"), ssm.conv_dim());
    out.push(Expected { required: !family.conv_bias_is_optional(), ..bias });
    out.push(vector(name("ssm_dt.bias"), ssm.n_head));
    out.push(f32s("ssm_a", vec![1, ssm.n_head]));
    out.push(f32s("ssm_d", vec![1, ssm.n_head]));
    // With one group, llama.cpp takes a plain vector too.
    let or_dims = (ssm.n_group == 1).then(|| vec![ssm.d_inner]);
    let norm = f32s("ssm_norm.weight", vec![per_group, ssm.n_group]);
    out.push(Expected { or_dims, required: !family.ssm_norm_is_optional(), ..norm });
    out.push(matrix(name("ssm_out.weight"), ssm.d_inner, d));
}

fn attention(out: &mut Vec<Expected>, name: &dyn Fn(&str) -> String, n_kv: usize, config: &ModelConfig) {
    let d = config.d_model;
    let q_rows = config.n_head.saturating_mul(config.head_dim);
    let kv_rows = n_kv.saturating_mul(config.head_dim);
    for (part, columns, rows) in
        [("attn_q", d, q_rows), ("attn_k", d, kv_rows), ("attn_v", d, kv_rows), ("attn_output", q_rows, d)]
    {
        out.push(matrix(name(&format!("{part}.weight")), columns, rows));
        if config.family.may_have_attention_bias() {
            out.push(Expected { required: false, ..vector(name(&format!("{part}.bias")), rows) });
        }
    }
}

fn matrix(name: impl Into<String>, columns: usize, rows: usize) -> Expected {
    let dims = vec![columns, rows];
    Expected { name: name.into(), dims, or_dims: None, allowed: Allowed::Matrix, required: true }
}

fn vector(name: impl Into<String>, n: usize) -> Expected {
    Expected { name: name.into(), dims: vec![n], or_dims: None, allowed: Allowed::F32, required: true }
}
