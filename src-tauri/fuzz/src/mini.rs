//! A valid model of 18 kB, so that a mutation hits something that matters: one Mamba block, one attention block.
use chimera_engine::{LoadOptions, Model};
use chimera_gguf::{GgmlType, StringArray, Value, Writer};
use std::sync::Arc;

const D: usize = 64;
const FF: usize = 64;
const STATE: usize = 16;
const CONTEXT: u32 = 64;
const CONTROLS: [&str; 5] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"];

fn tokens() -> Vec<String> {
    let mut next = 0x100..;
    let symbol = |byte: u8| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => next.next().and_then(char::from_u32).expect("few spare characters"),
    };
    let bytes: Vec<String> = (0..=255).map(symbol).map(String::from).collect();
    CONTROLS.iter().map(ToString::to_string).chain(bytes).chain(["Ġa".to_owned()]).collect()
}

fn keys(writer: &mut Writer, template: &str) {
    let tokens = tokens();
    let types: Vec<i32> = (0..tokens.len()).map(|i| if i < CONTROLS.len() { 3 } else { 1 }).collect();
    let merges: StringArray = ["Ġ a"].iter().collect();
    let numbers = [
        ("block_count", 2),
        ("context_length", CONTEXT),
        ("embedding_length", D as u32),
        ("feed_forward_length", FF as u32),
        ("attention.head_count", 2),
        ("ssm.conv_kernel", 4),
        ("ssm.inner_size", 2 * D as u32),
        ("ssm.state_size", STATE as u32),
        ("ssm.time_step_rank", 4),
        ("ssm.group_count", 1),
    ];
    let mut put = |key: &str, value: Value| writer.kv(key, value).expect("a good key");
    put("general.architecture", "granitehybrid".into());
    numbers.iter().for_each(|(key, n)| put(&format!("granitehybrid.{key}"), (*n).into()));
    put("granitehybrid.attention.head_count_kv", vec![0i32, 1].into());
    put("granitehybrid.attention.layer_norm_rms_epsilon", 1e-5f32.into());
    put("granitehybrid.rope.scaling.finetuned", true.into());
    put("tokenizer.ggml.model", "gpt2".into());
    put("tokenizer.ggml.pre", "qwen35".into());
    put("tokenizer.ggml.tokens", tokens.into());
    put("tokenizer.ggml.token_type", types.into());
    put("tokenizer.ggml.merges", merges.into());
    put("tokenizer.ggml.eos_token_id", 2u32.into());
    put("tokenizer.chat_template", template.into());
}

fn tensors() -> Vec<(String, Vec<usize>, GgmlType)> {
    use GgmlType::{F32, Q4_0};
    let (inner, conv) = (2 * D, 2 * D + 2 * STATE);
    let mut out = vec![
        ("token_embd.weight".to_owned(), vec![D, tokens().len()], Q4_0),
        ("output_norm.weight".to_owned(), vec![D], F32),
    ];
    for i in 0..2 {
        let mut add =
            |part: &str, dims: &[usize], dtype| out.push((format!("blk.{i}.{part}"), dims.into(), dtype));
        add("attn_norm.weight", &[D], F32);
        if i == 0 {
            add("ssm_in.weight", &[D, inner + conv + 4], Q4_0);
            add("ssm_conv1d.weight", &[4, conv], F32);
            add("ssm_conv1d.bias", &[conv], F32);
            ["ssm_dt.bias"].iter().for_each(|part| add(part, &[4], F32));
            ["ssm_a", "ssm_d"].iter().for_each(|part| add(part, &[1, 4], F32));
            add("ssm_norm.weight", &[inner, 1], F32);
            add("ssm_out.weight", &[inner, D], Q4_0);
        } else {
            add("attn_q.weight", &[D, D], Q4_0);
            ["attn_k.weight", "attn_v.weight"].iter().for_each(|part| add(part, &[D, D / 2], Q4_0));
            add("attn_output.weight", &[D, D], Q4_0);
        }
        add("ffn_norm.weight", &[D], F32);
        ["ffn_gate.weight", "ffn_up.weight"].iter().for_each(|part| add(part, &[D, FF], Q4_0));
        add("ffn_down.weight", &[FF, D], Q4_0);
    }
    out
}

/// The file.
pub fn file(template: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    keys(&mut writer, template);
    let tensors = tensors();
    let sizes: Vec<usize> = tensors
        .iter()
        .map(|(name, dims, dtype)| writer.tensor(name, dims, *dtype).expect("a good shape"))
        .collect();
    let mut out = writer.write_header(Vec::new()).expect("memory");
    for ((name, ..), bytes) in tensors.iter().zip(sizes) {
        // As f16 about 0.02, as f32 about 0.15: small and not zero.
        out.tensor(name, &[0x1e, 0x25, 0x1e, 0x3e].repeat(bytes)[..bytes]).expect("memory");
    }
    out.finish().expect("memory")
}

/// The same, loaded, on one thread.
pub fn model() -> Arc<Model> {
    let path = std::env::temp_dir().join(format!("chimera-fuzz-{}.gguf", std::process::id()));
    std::fs::write(&path, file("")).expect("a temporary file");
    let model = Model::load(&path, &LoadOptions { threads: 1, ..LoadOptions::default() });
    let _ = std::fs::remove_file(&path);
    model.expect("the mini model is valid")
}
