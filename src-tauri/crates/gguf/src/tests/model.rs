//! The `granitehybrid` contract, key by key and tensor by tensor.
use super::fixture::{Draft, VOCAB, draft};
use crate::{
    Block, Ffn, GgmlType, Gguf, Limits, Mixer, ModelError, RopeScaling, ValidModel, Value, ValueType,
};
use ModelError as E;

fn load(draft: &Draft) -> Result<ValidModel, ModelError> {
    ValidModel::from_gguf(Gguf::parse(&draft.build(), &Limits::default()).unwrap())
}

fn error(draft: &Draft) -> ModelError {
    load(draft).expect_err("the model breaks the contract")
}

fn arch(key: &str) -> String {
    format!("granitehybrid.{key}")
}

fn with(key: &str, value: impl Into<Value>) -> Draft {
    draft().set(&arch(key), value)
}

fn gated(mixer: Mixer) -> Block {
    Block { mixer: Some(mixer), ffn: Some(Ffn::Gated { width: 96 }) }
}

#[test]
fn accepts_a_dense_hybrid_and_resolves_its_defaults() {
    let config = load(&draft()).unwrap().config;
    assert_eq!(config.layers, [gated(Mixer::Mamba), gated(Mixer::Attention { n_kv: 2 })]);
    assert_eq!((config.n_head, config.head_dim, config.vocab_size, config.max_ff()), (4, 16, VOCAB, 96));
    assert_eq!((config.attention_scale, config.embedding_scale), (0.25, 1.0));
    assert_eq!((config.residual_scale, config.logit_scale), (1.0, 1.0));
    let ssm = config.ssm.unwrap();
    assert_eq!((ssm.n_head, ssm.head_dim), (4, 32));
    assert_eq!((ssm.conv_dim(), ssm.d_in_proj()), (160, 292));
    let rope = config.rope.unwrap();
    assert_eq!((rope.theta, rope.n_rot, rope.attn_factor), (10_000.0, 16, 1.0));
    assert_eq!(rope.scaling, RopeScaling::Linear { factor: 1.0 });
    assert!(config.tied_embedding && !rope.has_freq_factors);
}

#[test]
fn reads_multipliers_and_takes_zero_as_missing() {
    let config = load(&with("attention.scale", 0.5f32).set(&arch("logit_scale"), 8.0f32)).unwrap().config;
    assert_eq!((config.attention_scale, config.logit_scale), (0.5, 8.0));
    assert_eq!(load(&with("attention.scale", 0.0f32)).unwrap().config.attention_scale, 0.25);
}

#[test]
fn rejects_multipliers_that_are_no_numbers() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-40] {
        assert!(matches!(error(&with("residual_scale", bad)), E::BadFloat { .. }), "{bad}");
    }
    for bad in [0.0, -1e-5, 1.0, f32::NAN] {
        assert!(matches!(error(&with("attention.layer_norm_rms_epsilon", bad)), E::BadFloat { .. }), "{bad}");
    }
}

#[test]
fn reads_the_rope_switch_and_its_scaling() {
    assert_eq!(load(&with("rope.scaling.finetuned", false)).unwrap().config.rope, None);
    assert!(load(&draft().without(&arch("rope.scaling.finetuned"))).unwrap().config.rope.is_some());
    let scaled = |kind: &str| {
        let draft = with("rope.scaling.type", kind).set(&arch("rope.scaling.factor"), 4.0f32);
        load(&draft).unwrap().config.rope.unwrap().scaling
    };
    assert_eq!(scaled("none"), RopeScaling::None);
    assert_eq!(scaled("linear"), RopeScaling::Linear { factor: 4.0 });
    assert_eq!(scaled("longrope"), RopeScaling::Linear { factor: 4.0 });
    assert_eq!(scaled("yarn"), RopeScaling::Yarn { factor: 4.0, original_context: 128 });
    assert_eq!(error(&with("rope.scaling.type", "ntk")), E::RopeScaling { found: "ntk".into() });
}

#[test]
fn rejects_rope_numbers_that_cannot_be() {
    for n_rot in [0u32, 3, 18, u32::MAX] {
        assert!(matches!(error(&with("rope.dimension_count", n_rot)), E::Inconsistent { .. }), "{n_rot}");
    }
    for theta in [1.0f32, 0.5, -10.0, f32::NAN] {
        assert!(matches!(error(&with("rope.freq_base", theta)), E::BadFloat { .. }), "{theta}");
    }
    assert!(matches!(error(&with("rope.scaling.factor", -2.0f32)), E::BadFloat { .. }));
}

#[test]
fn accepts_rope_freqs_and_an_untied_head() {
    let untied = draft().with_tensor("output.weight", &[64, VOCAB], GgmlType::Q8_0);
    assert!(!load(&untied).unwrap().config.tied_embedding);
    let freqs = draft().with_tensor("rope_freqs.weight", &[8], GgmlType::F32);
    assert!(load(&freqs).unwrap().config.rope.unwrap().has_freq_factors);
    let wrong = draft().with_tensor("rope_freqs.weight", &[16], GgmlType::F32);
    assert!(matches!(error(&wrong), E::WrongShape { .. }));
}

#[test]
fn rejects_another_architecture() {
    let draft = draft().set("general.architecture", "gemma3");
    assert_eq!(error(&draft), E::Architecture { found: "gemma3".into() });
}

#[test]
fn rejects_missing_keys() {
    let required = [
        "block_count",
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.layer_norm_rms_epsilon",
        "ssm.conv_kernel",
        "ssm.inner_size",
        "ssm.state_size",
        "ssm.time_step_rank",
        "ssm.group_count",
    ];
    for key in required {
        assert_eq!(error(&draft().without(&arch(key))), E::MissingKey { key: arch(key) });
    }
}

#[test]
fn rejects_keys_of_another_type() {
    for key in ["block_count", "context_length", "ssm.state_size", "attention.head_count"] {
        let wrong = E::WrongType { key: arch(key), expected: "a u32", found: ValueType::I64 };
        assert_eq!(error(&with(key, 2i64)), wrong);
    }
    assert!(matches!(error(&with("rope.scaling.finetuned", 1u32)), E::WrongType { expected: "a bool", .. }));
    assert!(matches!(error(&with("attention.scale", 0.5f64)), E::WrongType { expected: "an f32", .. }));
    assert!(matches!(error(&with("attention.head_count_kv", vec![0i64, 2])), E::WrongType { .. }));
    assert!(matches!(error(&with("attention.head_count_kv", 2u32)), E::WrongType { .. }));
}

#[test]
fn rejects_block_count_out_of_range() {
    for n in [0u32, 513, u32::MAX] {
        assert!(matches!(error(&with("block_count", n)), E::OutOfRange { max: 512, .. }), "{n}");
    }
    let expected = E::WrongLength { key: arch("attention.head_count_kv"), found: 2, expected: 3 };
    assert_eq!(error(&with("block_count", 3u32)), expected);
}

#[test]
fn rejects_sizes_of_zero_and_sizes_out_of_range() {
    for key in [
        "context_length",
        "embedding_length",
        "feed_forward_length",
        "attention.head_count",
        "ssm.state_size",
    ] {
        assert!(matches!(error(&with(key, 0u32)), E::OutOfRange { found: 0, .. }), "{key}");
        assert!(matches!(error(&with(key, u32::MAX)), E::OutOfRange { .. }), "{key}");
    }
}

#[test]
fn rejects_head_counts_that_do_not_divide() {
    assert!(matches!(
        error(&with("attention.head_count_kv", vec![0i32, 3])),
        E::Inconsistent { found: 3, .. }
    ));
    assert!(matches!(
        error(&with("attention.head_count_kv", vec![0i32, -2])),
        E::Inconsistent { found: -2, .. }
    ));
    assert!(matches!(error(&with("attention.head_count", 5u32)), E::Inconsistent { .. }));
    assert!(matches!(error(&with("attention.key_length", 16u32)), E::Inconsistent { .. }));
    let explicit = with("attention.key_length", 16u32).set(&arch("attention.value_length"), 16u32);
    assert_eq!(load(&explicit).unwrap().config.head_dim, 16);
}

#[test]
fn rejects_ssm_sizes_that_do_not_fit_together() {
    assert!(matches!(error(&with("ssm.inner_size", 64u32)), E::Inconsistent { .. }));
    assert!(matches!(error(&with("ssm.time_step_rank", 3u32)), E::Inconsistent { .. }));
    assert!(matches!(error(&with("ssm.group_count", 3u32)), E::Inconsistent { .. }));
    assert!(matches!(error(&with("ssm.conv_kernel", 3u32)), E::OutOfRange { min: 4, max: 4, .. }));
}

#[test]
fn accepts_one_ffn_width_for_every_block_and_no_other_list() {
    assert!(load(&with("feed_forward_length", vec![96u32, 96])).is_ok());
    assert!(matches!(
        error(&with("feed_forward_length", vec![96u32, 64])),
        E::Inconsistent { found: 64, .. }
    ));
    assert!(matches!(error(&with("feed_forward_length", vec![0i32, 0])), E::OutOfRange { .. }));
}

#[test]
fn rejects_every_missing_tensor() {
    for (name, ..) in draft().tensors {
        assert_eq!(error(&draft().without_tensor(&name)), E::MissingTensor { name });
    }
}

#[test]
fn rejects_every_tensor_of_another_shape() {
    for (name, dims, dtype) in draft().tensors {
        let mut longer = dims.clone();
        *longer.last_mut().unwrap() += 1;
        let found = error(&draft().with_tensor(&name, &longer, dtype));
        assert!(matches!(&found, E::WrongShape { name: n, .. } if *n == name), "{found}");
    }
}

#[test]
fn rejects_a_one_dimensional_recurrence_but_takes_a_one_dimensional_norm() {
    for name in ["blk.0.ssm_a", "blk.0.ssm_d"] {
        assert!(matches!(error(&draft().with_tensor(name, &[4], GgmlType::F32)), E::WrongShape { .. }));
    }
    assert!(load(&draft().with_tensor("blk.0.ssm_norm.weight", &[128], GgmlType::F32)).is_ok());
}

#[test]
fn rejects_unknown_tensors() {
    for name in
        ["blk.2.attn_norm.weight", "blk.0.attn_q.weight", "blk.1.attn_q.bias", "rope_factors_long.weight"]
    {
        let draft = draft().with_tensor(name, &[64], GgmlType::F32);
        assert_eq!(error(&draft), E::UnknownTensor { name: name.into() });
    }
    let nope = draft().set(&arch("rope.scaling.finetuned"), false);
    let nope = nope.with_tensor("rope_freqs.weight", &[8], GgmlType::F32);
    assert!(matches!(error(&nope), E::UnknownTensor { .. }));
}

#[test]
fn rejects_other_types_where_f32_is_demanded() {
    for name in ["blk.0.ssm_conv1d.weight", "blk.0.ssm_a", "output_norm.weight", "blk.0.ssm_dt.bias"] {
        let dims = draft().tensors.into_iter().find(|(n, ..)| n == name).unwrap().1;
        let found = error(&draft().with_tensor(name, &dims, GgmlType::F16));
        assert!(matches!(found, E::WrongDtype { found: GgmlType::F16, .. }), "{found}");
    }
}

#[test]
fn rejects_matrix_types_that_hold_no_weights() {
    for dtype in [GgmlType::I32, GgmlType::F64, GgmlType::Q8_1, GgmlType::Iq4Nl] {
        let found = error(&draft().with_tensor("blk.1.attn_q.weight", &[64, 64], dtype));
        assert!(matches!(found, E::WrongDtype { .. }), "{found}");
    }
    for dtype in [GgmlType::F32, GgmlType::F16, GgmlType::Bf16, GgmlType::Q8_0] {
        assert!(load(&draft().with_tensor("blk.1.attn_q.weight", &[64, 64], dtype)).is_ok());
    }
}
