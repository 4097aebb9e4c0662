//! A real model file, damaged: the engine answers with a typed error or computes, but never panics.
use chimera_engine::{EngineError, LoadOptions, Model, Session};
use chimera_gguf::{GgmlType, Gguf, Limits, ModelError, Value, Writer};
use std::path::{Path, PathBuf};

fn tiny() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tiny/tiny-q4_0.gguf");
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Loads these bytes as a file.
fn load(folder: &Path, file: &[u8]) -> Result<std::sync::Arc<Model>, EngineError> {
    let path: PathBuf = folder.join("model.gguf");
    std::fs::write(&path, file).unwrap();
    Model::load(&path, &LoadOptions { threads: 1, ..LoadOptions::default() })
}

/// The same model with its declarations changed.
fn rewritten(file: &[u8], change: impl Fn(&mut Draft)) -> Vec<u8> {
    let gguf = Gguf::parse(file, &Limits::default()).unwrap();
    let tensors = gguf.tensors().iter().map(|t| Tensor {
        name: t.name.clone(),
        dims: t.dims.clone(),
        dtype: t.dtype,
        data: t.data(file).unwrap().to_vec(),
    });
    let mut draft = Draft { keys: gguf.metadata().to_vec(), tensors: tensors.collect() };
    change(&mut draft);
    draft.write()
}

struct Tensor {
    name: String,
    dims: Vec<usize>,
    dtype: GgmlType,
    data: Vec<u8>,
}

struct Draft {
    keys: Vec<(String, Value)>,
    tensors: Vec<Tensor>,
}

impl Draft {
    fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.keys.retain(|(k, _)| k != key);
        self.keys.push((key.into(), value.into()));
    }
    fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|t| t.name == name).unwrap()
    }
    fn write(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        self.keys.iter().for_each(|(key, value)| writer.kv(key, value.clone()).unwrap());
        for t in &self.tensors {
            writer.tensor(&t.name, &t.dims, t.dtype).unwrap();
        }
        let mut out = writer.write_header(Vec::new()).unwrap();
        self.tensors.iter().for_each(|t| out.tensor(&t.name, &t.data).unwrap());
        out.finish().unwrap()
    }
}

/// The contract's rule that a changed tiny model breaks.
fn broken_rule(change: impl Fn(&mut Draft)) -> ModelError {
    let folder = tempfile::tempdir().unwrap();
    match load(folder.path(), &rewritten(&tiny(), change)) {
        Err(EngineError::ModelInvalid { reason, .. }) => reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("the engine loaded it"),
    }
}

#[test]
fn an_unchanged_rewrite_is_the_same_file() {
    let file = tiny();
    assert!(rewritten(&file, |_| {}) == file);
}

#[test]
fn every_truncation_is_refused() {
    let (file, folder) = (tiny(), tempfile::tempdir().unwrap());
    for len in (0..file.len() - 32).step_by(997).chain([file.len() - 32]) {
        let found = load(folder.path(), &file[..len]).map(|_| ()).expect_err("a file without its end");
        let typed = matches!(found, EngineError::ModelMalformed { .. } | EngineError::ModelUnreadable { .. });
        assert!(typed, "{len} bytes: {found:?}");
    }
}

#[test]
fn another_architecture_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = rewritten(&tiny(), |d| d.set("general.architecture", "gemma3"));
    let found = load(folder.path(), &foreign).map(|_| ());
    assert!(
        matches!(&found, Err(EngineError::ForeignArchitecture { architecture, .. }) if architecture == "gemma3"),
        "{found:?}"
    );
}

#[test]
fn a_model_with_a_missing_tensor_is_refused() {
    let name = "blk.0.ssm_conv1d.bias";
    let found = broken_rule(|d| d.tensors.retain(|t| t.name != name));
    assert_eq!(found, ModelError::MissingTensor { name: name.into() });
}

#[test]
fn a_model_with_an_extra_tensor_is_refused() {
    let extra = || Tensor {
        name: "rope_factors_long.weight".into(),
        dims: vec![4],
        dtype: GgmlType::F32,
        data: vec![0; 16],
    };
    let found = broken_rule(|d| d.tensors.push(extra()));
    assert_eq!(found, ModelError::UnknownTensor { name: extra().name });
}

#[test]
fn a_model_with_a_tensor_of_another_shape_is_refused() {
    let found = broken_rule(|d| {
        let t = d.tensor("output_norm.weight");
        t.dims = vec![t.dims[0] / 2, 2];
    });
    assert!(matches!(found, ModelError::WrongShape { .. }), "{found:?}");
}

#[test]
fn a_model_with_experts_or_a_wild_block_count_is_refused() {
    let experts = broken_rule(|d| d.set("granitehybrid.expert_used_count", 2u32));
    assert!(matches!(experts, ModelError::Experts { .. }), "{experts:?}");
    for n in [0, 3, 600, u32::MAX] {
        let found = broken_rule(|d| d.set("granitehybrid.block_count", n));
        assert!(
            matches!(found, ModelError::OutOfRange { .. } | ModelError::WrongLength { .. }),
            "{n}: {found:?}"
        );
    }
}

#[test]
fn a_special_id_beyond_the_vocabulary_is_refused() {
    let found = broken_rule(|d| d.set("tokenizer.ggml.eos_token_id", u32::MAX));
    assert!(matches!(found, ModelError::TokenId { .. }), "{found:?}");
}

/// A deterministic stream of positions and bits.
fn xorshift(state: &mut u64) -> usize {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state as usize
}

/// Flips one bit, loads, and computes if that is still possible; says whether it was.
fn flip_and_run(file: &[u8], folder: &Path, at: usize, bit: usize) -> bool {
    let mut flipped = file.to_vec();
    flipped[at] ^= 1 << bit;
    let Ok(model) = load(folder, &flipped) else { return false };
    let mut session = Session::new(model);
    match session.logits_all(&[1, 300, 17, 2]) {
        Ok(logits) => assert!(logits.iter().all(|l| l.is_finite()), "byte {at}, bit {bit}"),
        Err(e) => assert!(
            matches!(e, EngineError::NonFiniteLogits { .. } | EngineError::TokenOutOfRange { .. }),
            "{e:?}"
        ),
    }
    true
}

#[test]
fn flipped_bits_in_the_metadata_never_panic() {
    let (file, folder) = (tiny(), tempfile::tempdir().unwrap());
    let data = Gguf::parse(&file, &Limits::default()).unwrap().tensors()[0].range.start;
    let mut state = 0x9e37_79b9_7f4a_7c15;
    let flips = (0..300).map(|_| (xorshift(&mut state) % data, xorshift(&mut state) % 8));
    let loaded = flips.filter(|&(at, bit)| flip_and_run(&file, folder.path(), at, bit)).count();
    assert!((1..300).contains(&loaded), "some flips are harmless, some are not: {loaded} of 300 loaded");
}

#[test]
fn flipped_bits_in_the_weights_never_panic() {
    let (file, folder) = (tiny(), tempfile::tempdir().unwrap());
    let data = Gguf::parse(&file, &Limits::default()).unwrap().tensors()[0].range.start;
    let mut state = 0x2545_f491_4f6c_dd1d;
    for _ in 0..200 {
        let (at, bit) = (data + xorshift(&mut state) % (file.len() - data), xorshift(&mut state) % 8);
        flip_and_run(&file, folder.path(), at, bit);
    }
}
