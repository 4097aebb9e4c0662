//! The fast forward pass against the reference one, on random models of every kind the format allows.
use crate::kernels::CpuTier;
use crate::testing::{Tiny, divergence, logits, options, relative_error, tokens};
use crate::{Backend, CancelFlag, EngineError, LoadOptions, Model, Session};
use chimera_gguf::{GgmlType, Value};
use std::sync::Arc;

fn with(extra: &[(&'static str, Value)]) -> Tiny {
    Tiny { extra: extra.to_vec(), ..Tiny::default() }
}

/// Every way of positions and scales in the contract.
fn variants() -> Vec<(&'static str, Tiny)> {
    let yarn = [
        ("rope.scaling.type", "yarn".into()),
        ("rope.scaling.factor", 4f32.into()),
        ("rope.scaling.original_context_length", 64u32.into()),
    ];
    let longrope = [("rope.scaling.type", "longrope".into()), ("rope.scaling.attn_factor", 1.2f32.into())];
    let scales = [
        ("embedding_scale", 12f32.into()),
        ("residual_scale", 0.22f32.into()),
        ("logit_scale", 3f32.into()),
        ("attention.scale", 0.05f32.into()),
    ];
    vec![
        ("default rope", Tiny::default()),
        ("no positions", with(&[("rope.scaling.finetuned", false.into())])),
        ("linear", with(&[("rope.scaling.type", "linear".into()), ("rope.scaling.factor", 2f32.into())])),
        (
            "partial rotation",
            with(&[("rope.dimension_count", 32u32.into()), ("rope.freq_base", 5e5f32.into())]),
        ),
        ("yarn", with(&yarn)),
        ("longrope as frequency factors", Tiny { rope_freqs: true, ..with(&longrope) }),
        ("multipliers", with(&scales)),
        ("two groups", Tiny { groups: 2, ..Tiny::default() }),
        ("untied head", Tiny { tied: false, ..Tiny::default() }),
    ]
}

#[test]
fn f32_equals_the_reference_within_1e_4() {
    let tokens = tokens(150);
    for (name, tiny) in variants() {
        let file = tiny.write();
        let expected = logits(&file.reference(), &tokens);
        let error = relative_error(&logits(&file.fast(), &tokens), &expected);
        assert!(error <= 1e-4, "{name}: {error}");
    }
}

/// Otherwise the test above would compare nothing.
#[test]
fn every_variant_changes_the_logits() {
    let tokens = tokens(150);
    let all: Vec<Vec<f32>> = variants().iter().map(|(_, t)| logits(&t.write().fast(), &tokens)).collect();
    for (i, a) in all.iter().enumerate() {
        assert!(a.iter().all(|l| l.is_finite()));
        for b in &all[..i] {
            assert!(relative_error(a, b) > 1e-3, "{i}");
        }
    }
}

#[test]
fn every_tier_and_type_agrees_with_the_reference() {
    use GgmlType::{Bf16, F16, F32, Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
    let tokens = tokens(100);
    // Int8 activations through four blocks of random weights; F32 shows what the kernels themselves add.
    let types = [
        (F32, F32, 1e-8),
        (F16, F16, 1e-4),
        (Bf16, F16, 1e-4),
        (Q8_0, Q8_0, 5e-3),
        (Q4_0, Q6K, 5e-3),
        (Q4_1, Q5_1, 5e-3),
        (Q5_0, Q4_0, 5e-3),
        (Q4K, Q6K, 5e-3),
        (Q5K, Q4K, 5e-3),
    ];
    for (matrices, embedding, limit) in types {
        // Divided by 3, the logits have a standard deviation of 2, as those of a trained model.
        let file = Tiny { matrices, embedding, ..with(&[("logit_scale", 3f32.into())]) }.write();
        let expected = logits(&file.reference(), &tokens);
        for tier in CpuTier::available() {
            let (kl, top1) = divergence(&logits(&file.load(&options(tier, 1)), &tokens), &expected);
            // Tiles of AMX take activations of 8 bits' precision.
            let limit = if tier.name() == "amx" && matrices != F32 { f64::max(limit, 1e-3) } else { limit };
            assert!(kl <= limit && top1 >= 0.9, "{matrices} on {tier:?}: KL {kl}, top-1 {top1}");
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let tokens = tokens(130);
    for matrices in [GgmlType::F32, GgmlType::Q4_0] {
        let file = Tiny { matrices, ..Tiny::default() }.write();
        for tier in CpuTier::available() {
            let of = |threads| logits(&file.load(&options(tier, threads)), &tokens);
            let one = of(1);
            assert!(one == of(2) && one == of(3), "{matrices} {tier:?}");
        }
    }
}

fn last_logits(model: &Arc<Model>, chunks: &[&[u32]]) -> Vec<f32> {
    let mut session = Session::new(Arc::clone(model));
    let mut last = Vec::new();
    for chunk in chunks {
        last = session.prefill(chunk, &CancelFlag::default(), &mut |_, _| {}).unwrap().to_vec();
    }
    last
}

#[test]
fn chunking_changes_f32_by_at_most_1e_5() {
    let tokens = tokens(200);
    let file = Tiny::default().write();
    for model in [file.fast(), file.reference()] {
        let whole = last_logits(&model, &[&tokens]);
        let singly: Vec<&[u32]> = tokens.chunks(1).collect();
        let error = relative_error(&last_logits(&model, &singly), &whole);
        assert!(error <= 1e-5, "one by one: {error}");
        let odd: Vec<&[u32]> = tokens.chunks(37).collect();
        let error = relative_error(&last_logits(&model, &odd), &whole);
        assert!(error <= 1e-5, "by 37: {error}");
    }
}

#[test]
fn chunking_changes_q4_0_by_a_mean_kl_of_at_most_1e_4() {
    let tokens = tokens(200);
    let file = Tiny { matrices: GgmlType::Q4_0, embedding: GgmlType::Q6K, ..Tiny::default() }.write();
    let mut int8 = Vec::new();
    for tier in CpuTier::available() {
        let model = file.load(&options(tier, 1));
        let whole = logits(&model, &tokens);
        let mut session = Session::new(model);
        let singly: Vec<f32> = tokens.iter().flat_map(|t| session.step(*t).unwrap().to_vec()).collect();
        // The tiles of AMX take 16 rows and more; one by one it is the tier below.
        if tier.name() != "amx" {
            int8 = whole;
        }
        assert!(divergence(&singly, &int8).0 <= 1e-4, "{tier:?}");
    }
}

#[test]
fn prefill_gives_the_last_row_of_logits_all() {
    let tokens = tokens(140);
    let model = Tiny::default().write().fast();
    let all = logits(&model, &tokens);
    assert_eq!(last_logits(&model, &[&tokens]), all[all.len() - model.info().vocab_size..]);
}

#[test]
fn info_describes_the_file() {
    let file = Tiny { matrices: GgmlType::Q4_0, ..Tiny::default() }.write();
    let model = file.load(&options(CpuTier::Portable, 2));
    let info = model.info();
    assert_eq!(
        (info.name.as_str(), info.quantization.as_str(), info.cpu_tier.as_str()),
        ("tiny", "Q4_0", "portable")
    );
    assert_eq!((info.context_length, info.vocab_size, info.threads), (512, 288, 2));
    let bytes = std::fs::read(file.path()).unwrap();
    assert_eq!(info.file_bytes, bytes.len() as u64);
    use sha2::Digest;
    let expected: String = sha2::Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(model.sha256(), expected);
}

fn refusal(path: &std::path::Path) -> EngineError {
    Model::load(path, &LoadOptions::default()).err().expect("refused")
}

#[test]
fn each_bad_file_has_its_own_error() {
    let file = Tiny::default().write();
    let path = file.path();
    let bytes = std::fs::read(&path).unwrap();
    let refused_as = |content: &[u8]| {
        let path = file.dir.path().join("bad.gguf");
        std::fs::write(&path, content).unwrap();
        refusal(&path)
    };
    assert!(matches!(refusal(&file.dir.path().join("none.gguf")), EngineError::ModelMissing { .. }));
    assert!(matches!(refusal(file.dir.path()), EngineError::ModelUnreadable { .. }));
    assert!(matches!(refused_as(b""), EngineError::ModelMalformed { .. }));
    assert!(matches!(refused_as(&bytes[..bytes.len() / 2]), EngineError::ModelMalformed { .. }));
    let foreign: Vec<u8> = replace(&bytes, b"granitehybrid", b"granitehybrib");
    assert!(matches!(refused_as(&foreign), EngineError::ForeignArchitecture { .. }));
    let other_pre = replace(&bytes, b"qwen35", b"qwen99");
    assert!(
        matches!(refused_as(&other_pre), EngineError::UnknownPretokenizer { pre, .. } if pre == "qwen99")
    );
    let unknown = replace(&bytes, b"blk.3.ffn_up.weight", b"blk.3.ffn_xx.weight");
    assert!(matches!(refused_as(&unknown), EngineError::ModelInvalid { .. }));
}

/// Replaces the first occurrence, a value as it stands after its key.
fn replace(bytes: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = bytes.windows(from.len()).position(|w| w == from).unwrap();
    let mut out = bytes.to_vec();
    out[at..at + to.len()].copy_from_slice(to);
    out
}

#[test]
fn types_without_a_kernel_run_on_the_reference_only() {
    let file = Tiny { matrices: GgmlType::Q3K, ..Tiny::default() }.write();
    assert!(matches!(refusal(&file.path()), EngineError::UnsupportedType { dtype, .. } if dtype == "Q3_K"));
    assert!(logits(&file.reference(), &tokens(3)).iter().all(|l| l.is_finite()));
}

#[test]
fn refuses_an_unknown_tier() {
    let options = LoadOptions { cpu_tier: Some("abacus".into()), ..LoadOptions::default() };
    let file = Tiny::default().write();
    assert!(
        matches!(Model::load(&file.path(), &options), Err(EngineError::UnknownCpuTier { name }) if name == "abacus")
    );
    assert_eq!(file.reference().backend(), Backend::Reference);
}
