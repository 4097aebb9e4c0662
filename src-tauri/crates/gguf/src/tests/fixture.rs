//! Files for the tests: raw bytes for the parser, a small valid model for the contract.
use crate::{GgmlType, StringArray, Value, Writer};

/// A file put together by hand, so that it can be wrong in ways [`Writer`] would refuse.
#[derive(Clone)]
pub struct Raw {
    pub magic: [u8; 4],
    pub version: u32,
    pub n_tensors: Option<u64>,
    pub n_kv: Option<u64>,
    pub keys: Vec<Vec<u8>>,
    pub infos: Vec<Vec<u8>>,
    pub data: Vec<u8>,
}

impl Default for Raw {
    fn default() -> Self {
        Self {
            magic: *b"GGUF",
            version: 3,
            n_tensors: None,
            n_kv: None,
            keys: vec![],
            infos: vec![],
            data: vec![],
        }
    }
}

impl Raw {
    pub fn key(mut self, key: &str, type_id: u32, value: &[u8]) -> Self {
        self.keys.push([&string(key.as_bytes())[..], &type_id.to_le_bytes(), value].concat());
        self
    }
    pub fn tensor(mut self, name: &str, dims: &[u64], dtype: u32, offset: u64) -> Self {
        let mut info = string(name.as_bytes());
        info.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|n| info.extend(n.to_le_bytes()));
        info.extend(dtype.to_le_bytes());
        info.extend(offset.to_le_bytes());
        self.infos.push(info);
        self
    }
    pub fn data(mut self, bytes: usize) -> Self {
        self.data = vec![1; bytes];
        self
    }
    pub fn header(&self) -> Vec<u8> {
        let mut out = Vec::from(self.magic);
        out.extend(self.version.to_le_bytes());
        out.extend(self.n_tensors.unwrap_or(self.infos.len() as u64).to_le_bytes());
        out.extend(self.n_kv.unwrap_or(self.keys.len() as u64).to_le_bytes());
        self.keys.iter().chain(&self.infos).for_each(|part| out.extend(part));
        out
    }
    pub fn build(&self) -> Vec<u8> {
        let mut out = self.header();
        if !self.data.is_empty() {
            out.resize(out.len().next_multiple_of(32), 0);
        }
        out.extend(&self.data);
        out
    }
}

pub fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

/// A file with two F32 tensors of 3 and 8 elements, 32 bytes apart, and one key.
pub fn two_tensors() -> Raw {
    let mut raw =
        Raw::default().key("k", 4, &7u32.to_le_bytes()).tensor("a", &[3], 0, 0).tensor("b", &[8], 0, 32);
    raw.data = [vec![1; 12], vec![0; 20], vec![2; 32]].concat();
    raw
}

/// The declarations of a small valid model, each of which a test may change or drop.
#[derive(Clone)]
pub struct Draft {
    pub keys: Vec<(String, Value)>,
    pub tensors: Vec<(String, Vec<usize>, GgmlType)>,
}

pub const VOCAB: usize = 260;
const D: usize = 64;
const FF: usize = 96;

impl Draft {
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        match self.keys.iter_mut().find(|(k, _)| k == key) {
            Some(entry) => entry.1 = value,
            None => self.keys.push((key.into(), value)),
        }
        self
    }
    pub fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(k, _)| k != key);
        self
    }
    pub fn with_tensor(mut self, name: &str, dims: &[usize], dtype: GgmlType) -> Self {
        match self.tensors.iter_mut().find(|(n, ..)| n == name) {
            Some(entry) => *entry = (name.into(), dims.into(), dtype),
            None => self.tensors.push((name.into(), dims.into(), dtype)),
        }
        self
    }
    pub fn without_tensor(mut self, name: &str) -> Self {
        self.tensors.retain(|(n, ..)| n != name);
        self
    }
    pub fn build(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        for (key, value) in &self.keys {
            writer.kv(key, value.clone()).unwrap();
        }
        let mut sizes = vec![];
        for (name, dims, dtype) in &self.tensors {
            sizes.push((name, writer.tensor(name, dims, *dtype).unwrap()));
        }
        let mut out = writer.write_header(Vec::new()).unwrap();
        for (name, bytes) in sizes {
            out.tensor(name, &vec![0x11; bytes]).unwrap();
        }
        out.finish().unwrap()
    }
}

/// All 256 byte symbols, one merge result, three control tokens.
pub fn tokens() -> Vec<String> {
    let mut next = 0x100..;
    let symbol = |byte: u8| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => char::from(byte),
        _ => char::from_u32(next.next().unwrap()).unwrap(),
    };
    let mut out: Vec<String> = (0..=255).map(symbol).map(String::from).collect();
    out.extend(["Ġa", "<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(String::from));
    out
}

/// Block 0 is Mamba, block 1 attention; H 4 × P 32, N 16, 4 heads of 16 with 2 KV heads.
pub fn draft() -> Draft {
    let arch = |key: &str| format!("granitehybrid.{key}");
    let u = Value::U32;
    let types: Vec<i32> = (0..VOCAB as i32).map(|i| if i > 256 { 3 } else { 1 }).collect();
    let merges: StringArray = ["Ġ a"].iter().collect();
    let keys = vec![
        ("general.architecture".into(), "granitehybrid".into()),
        (arch("block_count"), u(2)),
        (arch("context_length"), u(128)),
        (arch("embedding_length"), u(D as u32)),
        (arch("feed_forward_length"), u(FF as u32)),
        (arch("attention.head_count"), u(4)),
        (arch("attention.head_count_kv"), vec![0i32, 2].into()),
        (arch("attention.layer_norm_rms_epsilon"), Value::F32(1e-5)),
        (arch("rope.scaling.finetuned"), true.into()),
        (arch("ssm.conv_kernel"), u(4)),
        (arch("ssm.inner_size"), u(2 * D as u32)),
        (arch("ssm.state_size"), u(16)),
        (arch("ssm.time_step_rank"), u(4)),
        (arch("ssm.group_count"), u(1)),
        ("tokenizer.ggml.model".into(), "gpt2".into()),
        ("tokenizer.ggml.pre".into(), "qwen35".into()),
        ("tokenizer.ggml.tokens".into(), tokens().into()),
        ("tokenizer.ggml.token_type".into(), types.into()),
        ("tokenizer.ggml.merges".into(), merges.into()),
        ("tokenizer.ggml.eos_token_id".into(), u(259)),
        ("tokenizer.chat_template".into(), "{{ messages }}".into()),
    ];
    Draft { keys, tensors: tensors() }
}

fn tensors() -> Vec<(String, Vec<usize>, GgmlType)> {
    use GgmlType::{F32, Q4_0, Q8_0};
    let mut out = vec![
        ("token_embd.weight".to_string(), vec![D, VOCAB], Q8_0),
        ("output_norm.weight".into(), vec![D], F32),
    ];
    for i in 0..2 {
        let mut add =
            |part: &str, dims: &[usize], dtype| out.push((format!("blk.{i}.{part}"), dims.into(), dtype));
        add("attn_norm.weight", &[D], F32);
        if i == 0 {
            add("ssm_in.weight", &[D, 4 * D + 2 * 16 + 4], Q4_0);
            add("ssm_conv1d.weight", &[4, 2 * D + 2 * 16], F32);
            add("ssm_conv1d.bias", &[2 * D + 2 * 16], F32);
            add("ssm_dt.bias", &[4], F32);
            add("ssm_a", &[1, 4], F32);
            add("ssm_d", &[1, 4], F32);
            add("ssm_norm.weight", &[2 * D, 1], F32);
            add("ssm_out.weight", &[2 * D, D], Q4_0);
        } else {
            add("attn_q.weight", &[D, D], Q4_0);
            add("attn_k.weight", &[D, 32], Q4_0);
            add("attn_v.weight", &[D, 32], Q4_0);
            add("attn_output.weight", &[D, D], Q4_0);
        }
        add("ffn_norm.weight", &[D], F32);
        add("ffn_gate.weight", &[D, FF], Q4_0);
        add("ffn_up.weight", &[D, FF], Q4_0);
        add("ffn_down.weight", &[FF, D], Q4_0);
    }
    out
}
