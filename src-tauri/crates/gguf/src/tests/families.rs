//! The other families' contracts: keys, blocks and tensors of each, on small drafts.
use super::fixture::{Draft, VOCAB, draft};
use crate::{Block, Family, Ffn, GgmlType, Gguf, Limits, Mixer, ModelError, RopePairs, ValidModel, Value};
use ModelError as E;

const D: usize = 64;
const FF: usize = 96;
const HEAD: usize = 16;

fn load(draft: &Draft) -> Result<ValidModel, ModelError> {
    ValidModel::from_gguf(Gguf::parse(&draft.build(), &Limits::default()).unwrap())
}

fn error(draft: &Draft) -> ModelError {
    load(draft).expect_err("the model breaks the contract")
}

/// Keys of a family without its tensors; 4 heads of 16, 2 KV heads.
fn keys(family: Family, more: &[(&str, Value)]) -> Draft {
    let prefix = family.name();
    let mut out = draft();
    out.keys.retain(|(key, _)| !key.starts_with("granitehybrid."));
    out.tensors.retain(|(name, ..)| !name.starts_with("blk."));
    out = out.set("general.architecture", prefix);
    let common = [
        ("block_count", Value::U32(2)),
        ("context_length", Value::U32(128)),
        ("embedding_length", Value::U32(D as u32)),
        ("attention.head_count", Value::U32(4)),
        ("attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
    ];
    for (key, value) in common.iter().chain(more) {
        out = out.set(&format!("{prefix}.{key}"), value.clone());
    }
    out
}

fn with_block(mut draft: Draft, i: usize, parts: &[(&str, &[usize])]) -> Draft {
    for (part, dims) in parts {
        let dtype = if dims.len() > 1
            && part.ends_with(".weight")
            && !part.starts_with("ssm_conv")
            && !part.starts_with("ssm_norm")
        {
            GgmlType::Q4_0
        } else {
            GgmlType::F32
        };
        draft = draft.with_tensor(&format!("blk.{i}.{part}"), dims, dtype);
    }
    draft
}

const ATTENTION: [(&str, &[usize]); 5] = [
    ("attn_norm.weight", &[D]),
    ("attn_q.weight", &[D, D]),
    ("attn_k.weight", &[D, 2 * HEAD]),
    ("attn_v.weight", &[D, 2 * HEAD]),
    ("attn_output.weight", &[D, D]),
];
const GATED: [(&str, &[usize]); 3] =
    [("ffn_gate.weight", &[D, FF]), ("ffn_up.weight", &[D, FF]), ("ffn_down.weight", &[FF, D])];

fn llama() -> Draft {
    let mut out = keys(
        Family::Llama,
        &[("feed_forward_length", Value::U32(FF as u32)), ("attention.head_count_kv", Value::U32(2))],
    );
    for i in 0..2 {
        out = with_block(out, i, &ATTENTION);
        out = with_block(out, i, &GATED);
        out = with_block(out, i, &[("ffn_norm.weight", &[D])]);
    }
    out
}

/// di 96 (not 2·d), 4 heads of 24, N 16, 2 groups.
fn ssm_keys() -> Vec<(&'static str, Value)> {
    [("conv_kernel", 4u32), ("inner_size", 96), ("state_size", 16), ("time_step_rank", 4), ("group_count", 2)]
        .map(|(key, n)| (key, Value::U32(n)))
        .into_iter()
        .map(|(key, n)| match key {
            "conv_kernel" => ("ssm.conv_kernel", n),
            "inner_size" => ("ssm.inner_size", n),
            "state_size" => ("ssm.state_size", n),
            "time_step_rank" => ("ssm.time_step_rank", n),
            _ => ("ssm.group_count", n),
        })
        .collect()
}

const CONV: usize = 96 + 2 * 2 * 16;
const MAMBA: [(&str, &[usize]); 8] = [
    ("ssm_in.weight", &[D, 96 + CONV + 4]),
    ("ssm_conv1d.weight", &[4, CONV]),
    ("ssm_conv1d.bias", &[CONV]),
    ("ssm_dt.bias", &[4]),
    ("ssm_a", &[1, 4]),
    ("ssm_d", &[1, 4]),
    ("ssm_norm.weight", &[48, 2]),
    ("ssm_out.weight", &[96, D]),
];

fn falcon() -> Draft {
    let mut more = ssm_keys();
    more.push(("feed_forward_length", Value::U32(FF as u32)));
    more.push(("attention.head_count_kv", Value::U32(2)));
    let mut out = keys(Family::FalconH1, &more);
    for i in 0..2 {
        out = with_block(out, i, &ATTENTION);
        out = with_block(out, i, &MAMBA);
        out = with_block(out, i, &GATED);
        out = out.with_tensor(&format!("blk.{i}.ffn_norm"), &[D], GgmlType::F32);
    }
    out
}

fn nemotron() -> Draft {
    let mut more = ssm_keys();
    more.push(("block_count", Value::U32(3)));
    more.push(("attention.head_count_kv", vec![0i32, 2, 0].into()));
    more.push(("feed_forward_length", vec![0i32, 0, FF as i32].into()));
    let mut out = keys(Family::NemotronH, &more);
    out = with_block(out, 0, &[("attn_norm.weight", &[D])]);
    out = with_block(out, 0, &MAMBA);
    out = with_block(out, 1, &ATTENTION);
    let mlp: [(&str, &[usize]); 3] =
        [("attn_norm.weight", &[D]), ("ffn_up.weight", &[D, FF]), ("ffn_down.weight", &[FF, D])];
    with_block(out, 2, &mlp)
}

/// Granite with 8 experts, 3 of them used, and a shared one.
fn experts() -> Draft {
    let arch = |key: &str| format!("granitehybrid.{key}");
    let mut out = draft()
        .set(&arch("expert_count"), 8u32)
        .set(&arch("expert_used_count"), 3u32)
        .set(&arch("expert_shared_feed_forward_length"), 32u32);
    for i in 0..2 {
        for part in ["ffn_gate", "ffn_up", "ffn_down"] {
            out = out.without_tensor(&format!("blk.{i}.{part}.weight"));
        }
        let routed: [(&str, &[usize]); 7] = [
            ("ffn_gate_inp.weight", &[D, 8]),
            ("ffn_gate_exps.weight", &[D, FF, 8]),
            ("ffn_up_exps.weight", &[D, FF, 8]),
            ("ffn_down_exps.weight", &[FF, D, 8]),
            ("ffn_gate_shexp.weight", &[D, 32]),
            ("ffn_up_shexp.weight", &[D, 32]),
            ("ffn_down_shexp.weight", &[32, D]),
        ];
        out = with_block(out, i, &routed);
    }
    out
}

fn drafts() -> [Draft; 4] {
    [llama(), falcon(), nemotron(), experts()]
}

#[test]
fn llama_is_attention_and_a_gated_ffn_in_every_block() {
    let config = load(&llama()).unwrap().config;
    let block = Block { mixer: Some(Mixer::Attention { n_kv: 2 }), ffn: Some(Ffn::Gated { width: FF }) };
    assert_eq!(config.layers, [block, block]);
    assert_eq!((config.ssm, config.attention_scale), (None, 0.25));
    assert_eq!(config.rope.unwrap().pairs, RopePairs::Adjacent);
    let scaled = llama().set("llama.attention.scale", 3.0f32);
    assert_eq!(load(&scaled).unwrap().config.attention_scale, 0.25, "llama.cpp does not read it here");
}

#[test]
fn llama_may_have_biases_factors_and_a_head_of_its_own() {
    let full = llama()
        .with_tensor("blk.0.attn_q.bias", &[D], GgmlType::F32)
        .with_tensor("blk.0.attn_output.bias", &[D], GgmlType::F32)
        .with_tensor("rope_freqs.weight", &[HEAD / 2], GgmlType::F32)
        .with_tensor("output.weight", &[D, VOCAB], GgmlType::Q8_0);
    let config = load(&full).unwrap().config;
    assert!(config.rope.unwrap().has_freq_factors && !config.tied_embedding);
    let partial = llama().set("llama.rope.dimension_count", 8u32);
    assert!(matches!(error(&partial), E::Inconsistent { found: 8, .. }));
    let every_head = load(&llama().without("llama.attention.head_count_kv"));
    assert!(matches!(every_head, Err(E::WrongShape { .. })), "as many KV heads as heads");
}

#[test]
fn falcon_runs_attention_beside_mamba_and_needs_no_norm_there() {
    let config = load(&falcon()).unwrap().config;
    let block = Block { mixer: Some(Mixer::Parallel { n_kv: 2 }), ffn: Some(Ffn::Gated { width: FF }) };
    assert_eq!(config.layers, [block, block]);
    assert_eq!((config.rope.unwrap().pairs, config.ssm.unwrap().head_dim), (RopePairs::Halves, 24));
    let bare = falcon().without_tensor("blk.0.ssm_norm.weight").without_tensor("blk.1.ssm_conv1d.bias");
    assert!(load(&bare).is_ok());
    let renamed = falcon().with_tensor("blk.0.ffn_norm.weight", &[D], GgmlType::F32);
    assert_eq!(error(&renamed), E::UnknownTensor { name: "blk.0.ffn_norm.weight".into() });
}

#[test]
fn nemotron_is_one_of_three_in_every_block() {
    let config = load(&nemotron()).unwrap().config;
    assert_eq!(
        config.layers,
        [
            Block { mixer: Some(Mixer::Mamba), ffn: None },
            Block { mixer: Some(Mixer::Attention { n_kv: 2 }), ffn: None },
            Block { mixer: None, ffn: Some(Ffn::Squared { width: FF }) },
        ]
    );
    assert_eq!(config.rope, None);
    let other = nemotron()
        .without("nemotron_h.attention.layer_norm_rms_epsilon")
        .set("nemotron_h.attention.layer_norm_epsilon", 1e-3f32);
    assert_eq!(load(&other).unwrap().config.rms_eps, 1e-3);
    let both = nemotron().set("nemotron_h.nextn_predict_layers", 1u32);
    assert!(matches!(error(&both), E::Inconsistent { found: 1, .. }));
}

#[test]
fn granite_may_have_experts() {
    let config = load(&experts()).unwrap().config;
    let ffn = Ffn::Experts { width: FF, experts: 8, used: 3, shared: 32 };
    assert!(config.layers.iter().all(|block| block.ffn == Some(ffn)));
    let key = |key: &str, n: u32| experts().set(&format!("granitehybrid.{key}"), n);
    for used in [0, 9, u32::MAX] {
        assert!(matches!(error(&key("expert_used_count", used)), E::OutOfRange { .. }), "{used}");
    }
    assert!(matches!(error(&key("expert_count", 513)), E::OutOfRange { max: 512, .. }));
    assert!(matches!(error(&key("expert_count", 7)), E::WrongShape { .. }));
    assert_eq!(
        error(&key("expert_count", 0)),
        E::Experts { key: "granitehybrid.expert_used_count".into(), found: 3 }
    );
    let shared = key("expert_shared_feed_forward_length", 0);
    assert!(matches!(error(&shared), E::UnknownTensor { .. }));
}

#[test]
fn experts_are_refused_where_no_family_here_has_them() {
    for draft in [llama(), falcon(), nemotron()] {
        let arch = draft.keys.iter().find(|(key, _)| key == "general.architecture").unwrap();
        let key = format!("{}.expert_count", arch.1.as_str().unwrap());
        assert_eq!(error(&draft.set(&key, 4u32)), E::Experts { key, found: 4 });
    }
}

#[test]
fn every_family_misses_each_of_its_tensors_and_knows_no_other() {
    for draft in drafts() {
        assert!(load(&draft).is_ok());
        for (name, dims, dtype) in &draft.tensors {
            let optional = draft.keys[0].1.as_str() == Some("falcon-h1")
                || draft.keys[0].1.as_str() == Some("nemotron_h");
            let spared = optional && (name.ends_with("ssm_norm.weight") || name.ends_with("conv1d.bias"));
            if !spared || draft.keys[0].1.as_str() == Some("nemotron_h") && name.ends_with("norm.weight") {
                assert_eq!(
                    error(&draft.clone().without_tensor(name)),
                    E::MissingTensor { name: name.clone() }
                );
            }
            let mut longer = dims.clone();
            *longer.last_mut().unwrap() += 1;
            let found = error(&draft.clone().with_tensor(name, &longer, *dtype));
            assert!(matches!(&found, E::WrongShape { name: n, .. } if n == name), "{found}");
        }
        let extra = draft.with_tensor("blk.0.attn_qkv.weight", &[D, 128], GgmlType::Q4_0);
        assert_eq!(error(&extra), E::UnknownTensor { name: "blk.0.attn_qkv.weight".into() });
    }
}

#[test]
fn bos_comes_first_by_default_where_llama_cpp_has_it_so() {
    let adds = |pre: &str| load(&llama().set("tokenizer.ggml.pre", pre)).unwrap().tokenizer.add_bos;
    assert!(adds("llama-bpe") && adds("falcon-h1") && adds("tekken") && !adds("smollm"));
}

#[test]
fn foreign_vocabularies_may_lack_bytes_that_text_hardly_has() {
    let mut tokens = super::fixture::tokens();
    (tokens[0], tokens[0xff]) = ("x0".into(), "xff".into());
    let lacking = llama().set("tokenizer.ggml.tokens", tokens.clone());
    assert_eq!(error(&lacking), E::MissingByte { byte: 0 }, "ours lacks none");
    assert!(load(&lacking.set("tokenizer.ggml.pre", "smollm")).is_ok());
    tokens[usize::from(b'a')] = "xa".into();
    let unwritable = llama().set("tokenizer.ggml.pre", "smollm").set("tokenizer.ggml.tokens", tokens);
    assert_eq!(error(&unwritable), E::MissingByte { byte: b'a' });
}
