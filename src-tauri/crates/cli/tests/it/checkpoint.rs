//! A random Transformers checkpoint of the tiny shape: d 128, 4 blocks, attention at block 2, 1024 entries.
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

pub const D: usize = 128;
pub const D_INNER: usize = 256;
pub const STATE: usize = 32;
pub const SSM_HEADS: usize = 8;
pub const FF: usize = 256;
pub const VOCAB: usize = 1024;
pub const HEADS: usize = 4;
pub const KV_HEADS: usize = 2;
pub const HEAD_DIM: usize = D / HEADS;

pub struct Checkpoint {
    pub config: Value,
    pub tokenizer: Value,
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

/// SplitMix64, mapped to (−1, 1).
struct Noise(u64);
impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

impl Checkpoint {
    pub fn tiny() -> Self {
        let mut noise = Noise(7);
        let mut tensors = BTreeMap::new();
        for (name, shape) in shapes() {
            let n: usize = shape.iter().product();
            let fan_in = *shape.last().unwrap() as f32;
            let values = (0..n).map(|_| initial(&name, noise.next(), fan_in)).collect();
            tensors.insert(name, (shape, values));
        }
        Self { config: config(), tokenizer: tokenizer(), tensors }
    }

    pub fn write(&self, dir: &Path) {
        std::fs::create_dir_all(dir).unwrap();
        std::fs::write(dir.join("config.json"), self.config.to_string()).unwrap();
        std::fs::write(dir.join("tokenizer.json"), self.tokenizer.to_string()).unwrap();
        std::fs::write(dir.join("model.safetensors"), self.safetensors(|_| true)).unwrap();
    }

    /// The same in two shards with their index.
    pub fn write_sharded(&self, dir: &Path) {
        self.write(dir);
        std::fs::remove_file(dir.join("model.safetensors")).unwrap();
        let shard = |name: &str| if name.contains("layers.") { "b.safetensors" } else { "a.safetensors" };
        for file in ["a.safetensors", "b.safetensors"] {
            std::fs::write(dir.join(file), self.safetensors(|name| shard(name) == file)).unwrap();
        }
        let map: HashMap<_, _> = self.tensors.keys().map(|name| (name, shard(name))).collect();
        let index = json!({"metadata": {}, "weight_map": map});
        std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
    }

    fn safetensors(&self, keep: impl Fn(&str) -> bool) -> Vec<u8> {
        let bytes: Vec<(&String, &Vec<usize>, Vec<u8>)> = (self.tensors.iter())
            .filter(|(name, _)| keep(name))
            .map(|(name, (shape, values))| {
                (name, shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())
            })
            .collect();
        let views = bytes.iter().map(|(name, shape, data)| {
            (
                *name,
                safetensors::tensor::TensorView::new(safetensors::Dtype::F32, (*shape).clone(), data)
                    .unwrap(),
            )
        });
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(metadata)).unwrap()
    }
}

/// Norms near 1, A_log and dt as Mamba-2 initialises them, matrices with variance ~1/fan-in.
fn initial(name: &str, noise: f32, fan_in: f32) -> f32 {
    match name {
        _ if name.ends_with("norm.weight") || name.ends_with(".D") => 1.0 + 0.1 * noise,
        _ if name.ends_with("A_log") => (8.5 + 7.5 * noise).ln(),
        _ if name.ends_with("dt_bias") => -3.0 + noise,
        _ if name.ends_with("conv1d.weight") => 0.5 * noise,
        _ if name.ends_with(".bias") => 0.1 * noise,
        _ => 1.7 * noise / fan_in.sqrt(),
    }
}

fn shapes() -> Vec<(String, Vec<usize>)> {
    let mut out = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, D]),
        ("model.norm.weight".to_owned(), vec![D]),
    ];
    let conv_dim = D_INNER + 2 * STATE;
    for i in 0..4 {
        let mut add =
            |part: &str, shape: &[usize]| out.push((format!("model.layers.{i}.{part}"), shape.to_vec()));
        add("input_layernorm.weight", &[D]);
        add("post_attention_layernorm.weight", &[D]);
        add("shared_mlp.input_linear.weight", &[2 * FF, D]);
        add("shared_mlp.output_linear.weight", &[D, FF]);
        if i == 2 {
            add("self_attn.q_proj.weight", &[D, D]);
            add("self_attn.k_proj.weight", &[KV_HEADS * HEAD_DIM, D]);
            add("self_attn.v_proj.weight", &[KV_HEADS * HEAD_DIM, D]);
            add("self_attn.o_proj.weight", &[D, D]);
            continue;
        }
        add("mamba.in_proj.weight", &[D_INNER + conv_dim + SSM_HEADS, D]);
        add("mamba.conv1d.weight", &[conv_dim, 1, 4]);
        add("mamba.conv1d.bias", &[conv_dim]);
        add("mamba.dt_bias", &[SSM_HEADS]);
        add("mamba.A_log", &[SSM_HEADS]);
        add("mamba.D", &[SSM_HEADS]);
        add("mamba.norm.weight", &[D_INNER]);
        add("mamba.out_proj.weight", &[D, D_INNER]);
    }
    out
}

fn config() -> Value {
    json!({
        "architectures": ["GraniteMoeHybridForCausalLM"], "model_type": "granitemoehybrid",
        "vocab_size": VOCAB, "hidden_size": D, "num_hidden_layers": 4,
        "layer_types": ["mamba", "mamba", "attention", "mamba"],
        "shared_intermediate_size": FF, "intermediate_size": FF,
        "num_local_experts": 0, "num_experts_per_tok": 0,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "attention_bias": false,
        "attention_multiplier": 1.0 / (HEAD_DIM as f64).sqrt(),
        "embedding_multiplier": 1.0, "residual_multiplier": 1.0, "logits_scaling": 1.0,
        "position_embedding_type": "rope",
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "mamba_n_heads": SSM_HEADS, "mamba_d_head": 32, "mamba_d_state": STATE, "mamba_n_groups": 1,
        "mamba_d_conv": 4, "mamba_expand": 2, "mamba_conv_bias": true, "mamba_proj_bias": false,
        "time_step_limit": [0.0, {"__float__": "Infinity"}],
        "hidden_act": "silu", "rms_norm_eps": 1e-5, "max_position_embeddings": 512,
        "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0
    })
}

/// Control tokens 0–7, the 256 bytes, two merges; the other ids stay unused.
fn tokenizer() -> Value {
    let contract: Value =
        serde_json::from_str(include_str!("../../../../../assets/contract/special_tokens.json")).unwrap();
    let controls = contract["control"].as_array().unwrap();
    let added: Vec<Value> = controls
        .iter()
        .enumerate()
        .map(|(id, text)| json!({"id": id, "content": text, "special": true, "single_word": false}))
        .collect();
    let mut vocab: serde_json::Map<String, Value> = controls
        .iter()
        .enumerate()
        .map(|(id, text)| (text.as_str().unwrap().to_owned(), json!(id)))
        .collect();
    let mut next = 0x100..;
    for byte in 0..=255_u8 {
        let symbol = match byte {
            b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
            _ => next.next().and_then(char::from_u32).unwrap(),
        };
        vocab.insert(symbol.to_string(), json!(8 + usize::from(byte)));
    }
    vocab.insert("th".into(), json!(264));
    vocab.insert("the".into(), json!(265));
    let split = json!({"type": "Split", "pattern": {"Regex": contract["pattern"]}, "behavior": "Isolated", "invert": false});
    let bytes =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
    json!({
        "version": "1.0", "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bytes]},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": vocab, "merges": [["t", "h"], ["th", "e"]], "byte_fallback": false, "ignore_merges": false}
    })
}
