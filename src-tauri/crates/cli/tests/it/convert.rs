//! convert and quantize: what the files hold, and what is refused.
use crate::checkpoint::{Checkpoint, D, FF, HEAD_DIM, KV_HEADS, SSM_HEADS};
use crate::run::{fails, ok, s, tiny};
use chimera_gguf::{GgmlType, Gguf, Limits, Mixer, ValidModel};
use serde_json::json;
use std::path::Path;
use tempfile::TempDir;

fn model(path: &Path) -> (Vec<u8>, ValidModel) {
    let bytes = std::fs::read(path).unwrap();
    let gguf = Gguf::parse(&bytes, &Limits::default()).unwrap();
    (bytes, ValidModel::from_gguf(gguf).unwrap())
}

fn f32s(bytes: &[u8], model: &ValidModel, name: &str) -> Vec<f32> {
    let tensor = model.gguf.tensor(name).unwrap();
    assert_eq!(tensor.dtype, GgmlType::F32, "{name}");
    tensor.data(bytes).unwrap().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn converted(checkpoint: &Checkpoint) -> (Vec<u8>, ValidModel) {
    let dir = TempDir::new().unwrap();
    checkpoint.write(&dir.path().join("in"));
    let out = dir.path().join("out.gguf");
    ok(&["convert", s(&dir.path().join("in")), "-o", s(&out), "--type", "f32"]);
    model(&out)
}

fn refused(checkpoint: &Checkpoint, part: &str) {
    let dir = TempDir::new().unwrap();
    checkpoint.write(&dir.path().join("in"));
    let out = dir.path().join("out.gguf");
    fails(&["convert", s(&dir.path().join("in")), "-o", s(&out)], 4, part);
    assert!(!out.exists(), "a refused conversion leaves no file");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nor a temporary one");
}

#[test]
fn values_are_those_of_the_checkpoint() {
    let source = Checkpoint::tiny();
    let (bytes, model) = model(&tiny().f32);
    let hf = |name: &str| source.tensors[name].1.clone();
    let gguf = |name: &str| f32s(&bytes, &model, name);
    assert_eq!(gguf("token_embd.weight"), hf("model.embed_tokens.weight"));
    assert_eq!(gguf("blk.0.ssm_in.weight"), hf("model.layers.0.mamba.in_proj.weight"));
    assert_eq!(gguf("blk.0.ssm_conv1d.weight"), hf("model.layers.0.mamba.conv1d.weight"));
    let a: Vec<f32> = hf("model.layers.1.mamba.A_log").iter().map(|a| -a.exp()).collect();
    assert_eq!(gguf("blk.1.ssm_a"), a);
    let input = hf("model.layers.3.shared_mlp.input_linear.weight");
    assert_eq!(gguf("blk.3.ffn_gate.weight"), input[..FF * D]);
    assert_eq!(gguf("blk.3.ffn_up.weight"), input[FF * D..]);
    assert_eq!(model.gguf.tensor("blk.1.ssm_a").unwrap().dims, [1, SSM_HEADS]);
}

#[test]
fn rows_of_q_and_k_are_interleaved() {
    let source = Checkpoint::tiny();
    let (bytes, model) = model(&tiny().f32);
    for (gguf, hf) in [("attn_q", "q_proj"), ("attn_k", "k_proj")] {
        let found = f32s(&bytes, &model, &format!("blk.2.{gguf}.weight"));
        let (shape, w) = &source.tensors[&format!("model.layers.2.self_attn.{hf}.weight")];
        for row in 0..shape[0] {
            // Row 2j + b of a head was row j + b·hd/2.
            let (head, within) = (row / HEAD_DIM, row % HEAD_DIM);
            let from = head * HEAD_DIM + within / 2 + (within % 2) * HEAD_DIM / 2;
            assert_eq!(found[row * D..(row + 1) * D], w[from * D..(from + 1) * D], "{gguf} row {row}");
        }
    }
}

#[test]
fn keys_say_what_the_configuration_says() {
    let (_, model) = model(&tiny().f32);
    let config = &model.config;
    let mamba = Mixer::Mamba;
    let mixers: Vec<Mixer> = config.layers.iter().filter_map(|block| block.mixer).collect();
    assert_eq!(mixers, [mamba, mamba, Mixer::Attention { n_kv: KV_HEADS }, mamba]);
    assert_eq!((config.d_model, config.max_ff(), config.context_length), (D, FF, 512));
    assert_eq!(config.attention_scale, (HEAD_DIM as f32).sqrt().recip());
    assert!(config.tied_embedding);
    assert_eq!(config.rope.unwrap().n_rot, HEAD_DIM);
    assert_eq!(model.gguf.get("granitehybrid.rope.scaling.finetuned").unwrap().as_bool(), Some(true));
    let tokenizer = &model.tokenizer;
    assert_eq!(tokenizer.pre, "qwen35");
    assert_eq!(
        (tokenizer.bos, tokenizer.eos, tokenizer.eot, tokenizer.padding),
        (Some(0), Some(2), Some(2), Some(0))
    );
    assert_eq!(tokenizer.tokens.get(1), Some("<|im_start|>"));
    assert_eq!(tokenizer.tokens.get(265), Some("the"));
    assert_eq!(tokenizer.tokens.get(266), Some("[PAD266]"));
    assert_eq!(tokenizer.merges.get(1), Some("th e"));
    let types = model.gguf.get("tokenizer.ggml.token_type").unwrap().as_array().unwrap().as_i32s().unwrap();
    assert_eq!((types[0], types[8], types[265], types[266]), (3, 1, 1, 5));
}

#[test]
fn shards_give_the_same_file() {
    let dir = TempDir::new().unwrap();
    Checkpoint::tiny().write_sharded(&dir.path().join("tiny"));
    let out = dir.path().join("out.gguf");
    ok(&["convert", s(&dir.path().join("tiny")), "-o", s(&out), "--type", "f32"]);
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&tiny().f32).unwrap());
}

#[test]
fn f16_and_bf16_keep_f32_where_the_contract_demands() {
    for (name, dtype) in [("f16", GgmlType::F16), ("bf16", GgmlType::Bf16)] {
        let dir = TempDir::new().unwrap();
        let out = dir.path().join("out.gguf");
        ok(&["convert", s(&tiny().checkpoint), "-o", s(&out), "--type", name]);
        let (_, model) = model(&out);
        assert_eq!(model.gguf.tensor("blk.0.ssm_in.weight").unwrap().dtype, dtype);
        for tensor in
            ["blk.0.ssm_conv1d.weight", "blk.0.ssm_a", "blk.0.ssm_norm.weight", "output_norm.weight"]
        {
            assert_eq!(model.gguf.tensor(tensor).unwrap().dtype, GgmlType::F32, "{tensor}");
        }
    }
}

#[test]
fn yarn_and_longrope_reach_the_file() {
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.config["rope_parameters"] = json!({"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128});
    let (_, model) = converted(&checkpoint);
    let expected = chimera_gguf::RopeScaling::Yarn { factor: 4.0, original_context: 128 };
    assert_eq!(model.config.rope.unwrap().scaling, expected);

    let factors: Vec<f32> = (0..HEAD_DIM / 2).map(|j| 1.0 + j as f32).collect();
    checkpoint.config["rope_parameters"] = json!({"rope_type": "longrope", "rope_theta": 10000.0, "factor": 4.0,
        "original_max_position_embeddings": 128, "long_factor": factors, "short_factor": factors});
    let (bytes, model) = converted(&checkpoint);
    assert_eq!(f32s(&bytes, &model, "rope_freqs.weight"), factors);
    let rope = model.config.rope.unwrap();
    assert_eq!(rope.scaling, chimera_gguf::RopeScaling::Linear { factor: 1.0 });
    assert!((rope.attn_factor - (1.0 + 4f32.ln() / 128f32.ln()).sqrt()).abs() < 1e-6);
}

#[test]
fn no_position_embedding_turns_rope_off() {
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.config["position_embedding_type"] = json!(null);
    assert_eq!(converted(&checkpoint).1.config.rope, None);
}

#[test]
fn untied_head_becomes_output() {
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.config["tie_word_embeddings"] = json!(false);
    refused(&checkpoint, "lm_head.weight is missing");
    let head = checkpoint.tensors["model.embed_tokens.weight"].clone();
    checkpoint.tensors.insert("lm_head.weight".into(), head);
    assert!(!converted(&checkpoint).1.config.tied_embedding);
}

#[test]
fn refuses_missing_unknown_and_misshapen_tensors() {
    let mut missing = Checkpoint::tiny();
    missing.tensors.remove("model.layers.1.mamba.D");
    refused(&missing, "model.layers.1.mamba.D is missing");

    let mut unknown = Checkpoint::tiny();
    unknown.tensors.insert("model.layers.2.self_attn.q_norm.weight".into(), (vec![4], vec![0.0; 4]));
    refused(&unknown, "q_norm.weight does not belong");

    let mut misshapen = Checkpoint::tiny();
    misshapen.tensors.insert("model.norm.weight".into(), (vec![4], vec![0.0; 4]));
    refused(&misshapen, "has shape [4], expected [128]");
}

#[test]
fn refuses_values_that_are_not_finite_or_do_not_fit() {
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.tensors.get_mut("model.layers.0.mamba.out_proj.weight").unwrap().1[5] = f32::NAN;
    refused(&checkpoint, "not finite at element 5");
    checkpoint.tensors.get_mut("model.layers.0.mamba.out_proj.weight").unwrap().1[5] = 1e6;
    refused(&checkpoint, "1000000 does not fit F16");
}

#[test]
fn refuses_configurations_the_format_cannot_express() {
    for (key, value, part) in [
        ("num_local_experts", json!(8), "num_local_experts"),
        ("mamba_n_groups", json!(2), "mamba_n_groups"),
        ("layer_types", json!(["mamba", "mamba", "sliding", "mamba"]), "sliding"),
        ("mamba_n_heads", json!(4), "mamba_n_heads"),
        ("attention_bias", json!(true), "attention_bias"),
        ("time_step_limit", json!([0.0, 0.1]), "time_step_limit"),
        ("hidden_act", json!("gelu"), "hidden_act"),
        ("rope_parameters", json!({"rope_type": "llama3", "factor": 8.0}), "llama3"),
    ] {
        let mut checkpoint = Checkpoint::tiny();
        checkpoint.config[key] = value;
        refused(&checkpoint, part);
    }
}

#[test]
fn refuses_foreign_tokenizers() {
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.tokenizer["normalizer"] = json!({"type": "NFC"});
    refused(&checkpoint, "normalizer");
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.tokenizer["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = json!("\\w+");
    refused(&checkpoint, "qwen35");
    let mut checkpoint = Checkpoint::tiny();
    checkpoint.tokenizer["model"]["type"] = json!("Unigram");
    refused(&checkpoint, "Unigram");
}

#[test]
fn quantized_types_are_those_asked_for() {
    let (_, model) = model(&tiny().q4_0);
    let dtype = |name: &str| model.gguf.tensor(name).unwrap().dtype;
    assert_eq!(dtype("token_embd.weight"), GgmlType::Q8_0);
    for name in
        ["blk.0.ssm_in.weight", "blk.0.ssm_out.weight", "blk.2.attn_q.weight", "blk.2.ffn_down.weight"]
    {
        assert_eq!(dtype(name), GgmlType::Q4_0, "{name}");
    }
    for name in ["blk.0.ssm_conv1d.weight", "blk.0.ssm_a", "blk.0.ssm_d", "blk.0.attn_norm.weight"] {
        assert_eq!(dtype(name), GgmlType::F32, "{name}");
    }
    assert_eq!(model.gguf.get("general.file_type").unwrap().as_u32(), Some(2));
    assert_eq!(model.gguf.get("general.quantization_version").unwrap().as_u32(), Some(2));
}

#[test]
fn quantize_refuses_ragged_rows_quantized_input_and_its_own_input() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("out.gguf");
    fails(&["quantize", s(&tiny().f32), s(&out)], 5, "rows of 128 values");
    fails(&["quantize", s(&tiny().q4_0), s(&out), "--embedding", "q8_0"], 5, "is Q8_0 already");
    let copy = dir.path().join("copy.gguf");
    std::fs::copy(&tiny().f32, &copy).unwrap();
    fails(&["quantize", s(&copy), s(&copy), "--embedding", "q8_0"], 2, "both input and output");
    assert!(!out.exists());
}

#[test]
fn same_input_gives_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let out = dir.path().join("again.gguf");
    ok(&["quantize", s(&tiny().f32), s(&out), "--embedding", "q8_0"]);
    assert!(std::fs::read(&out).unwrap() == std::fs::read(&tiny().q4_0).unwrap());
}

#[test]
fn missing_directory_and_unwritable_target_have_their_codes() {
    fails(&["convert", "/nonexistent/dir", "-o", "/tmp/x.gguf"], 6, "config.json");
    fails(&["convert", s(&tiny().checkpoint), "-o", "/nonexistent/dir/x.gguf"], 6, "cannot be written");
    fails(&["quantize", "/nonexistent.gguf", "/tmp/x.gguf"], 3, "no model file");
}
