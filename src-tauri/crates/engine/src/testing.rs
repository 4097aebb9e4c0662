//! Random small models, written with the real writer: what the engine's own tests run on.
use crate::kernels::CpuTier;
use crate::tokenizer::tests::byte_data;
use crate::{Backend, LoadOptions, Model, Session, TokenId};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use chimera_gguf::{GgmlType, TokenType, Value, Writer};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// Four blocks, attention at block 2. Every field may be changed; rows are multiples of 256, so every type fits.
#[derive(Clone)]
pub(crate) struct Tiny {
    pub seed: u64,
    pub matrices: GgmlType,
    pub embedding: GgmlType,
    pub tied: bool,
    pub groups: usize,
    pub context: u32,
    /// `granitehybrid.` keys on top of the necessary ones.
    pub extra: Vec<(&'static str, Value)>,
    /// `rope_freqs.weight`.
    pub rope_freqs: bool,
}

pub(crate) const VOCAB: usize = 288;
const D: usize = 256;
const DI: usize = 2 * D;
const H: usize = 8;
const N: usize = 32;
const FF: usize = 256;
const HEADS: usize = 4;
const KV: usize = 2;

impl Default for Tiny {
    fn default() -> Self {
        let (matrices, embedding) = (GgmlType::F32, GgmlType::F32);
        Self {
            seed: 1,
            matrices,
            embedding,
            tied: true,
            groups: 1,
            context: 512,
            extra: Vec::new(),
            rope_freqs: false,
        }
    }
}

/// A file in a directory of its own, removed at the end.
pub(crate) struct TinyFile {
    pub dir: TempDir,
}

impl TinyFile {
    pub fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("tiny.gguf")
    }

    pub fn load(&self, options: &LoadOptions) -> Arc<Model> {
        Model::load(&self.path(), options).unwrap()
    }

    pub fn fast(&self) -> Arc<Model> {
        self.load(&options(CpuTier::detect(), 1))
    }

    pub fn reference(&self) -> Arc<Model> {
        self.load(&LoadOptions { backend: Backend::Reference, threads: 1, ..LoadOptions::default() })
    }
}

pub(crate) fn options(tier: CpuTier, threads: usize) -> LoadOptions {
    LoadOptions {
        backend: Backend::Fast,
        threads,
        cpu_tier: Some(tier.name().to_owned()),
        ..LoadOptions::default()
    }
}

impl Tiny {
    pub fn write(&self) -> TinyFile {
        let file = TinyFile { dir: tempfile::tempdir().unwrap() };
        self.write_to(&file.path());
        file
    }

    pub fn write_to(&self, path: &Path) {
        let mut writer = Writer::new();
        self.keys(&mut writer);
        let tensors = self.tensors();
        for (name, dims, dtype, _) in &tensors {
            writer.tensor(name, dims, *dtype).unwrap();
        }
        let mut data = writer.write_header(std::fs::File::create(path).unwrap()).unwrap();
        for (name, _, _, bytes) in &tensors {
            data.tensor(name, bytes).unwrap();
        }
        data.finish().unwrap();
    }

    fn keys(&self, writer: &mut Writer) {
        let tokenizer = byte_data(&[("h", "e"), ("l", "l"), ("he", "ll")]);
        let mut types: Vec<i32> =
            tokenizer.token_types.iter().map(|t| 1 + 2 * i32::from(*t == TokenType::Control)).collect();
        let mut tokens: Vec<String> = tokenizer.tokens.iter().map(str::to_owned).collect();
        tokens.extend((tokens.len()..VOCAB).map(|id| format!("[PAD{id}]")));
        types.resize(VOCAB, 5);
        let mut kv = |key: &str, value: Value| writer.kv(key, value).unwrap();
        kv("general.architecture", "granitehybrid".into());
        kv("tokenizer.ggml.model", "gpt2".into());
        kv("tokenizer.ggml.pre", "qwen35".into());
        kv("tokenizer.ggml.tokens", tokens.into());
        kv("tokenizer.ggml.token_type", types.into());
        kv("tokenizer.ggml.merges", Value::from(tokenizer.merges));
        kv("tokenizer.ggml.eos_token_id", 2u32.into());
        for (key, value) in self.sizes() {
            if self.extra.iter().all(|(k, _)| *k != key) {
                kv(&format!("granitehybrid.{key}"), value);
            }
        }
        for (key, value) in &self.extra {
            kv(&format!("granitehybrid.{key}"), value.clone());
        }
    }

    fn sizes(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("block_count", 4u32.into()),
            ("context_length", self.context.into()),
            ("embedding_length", (D as u32).into()),
            ("feed_forward_length", (FF as u32).into()),
            ("attention.head_count", (HEADS as u32).into()),
            ("attention.head_count_kv", vec![0i32, 0, KV as i32, 0].into()),
            ("attention.layer_norm_rms_epsilon", 1e-5f32.into()),
            ("ssm.conv_kernel", 4u32.into()),
            ("ssm.inner_size", (DI as u32).into()),
            ("ssm.state_size", (N as u32).into()),
            ("ssm.time_step_rank", (H as u32).into()),
            ("ssm.group_count", (self.groups as u32).into()),
        ]
    }

    fn tensors(&self) -> Vec<(String, Vec<usize>, GgmlType, Vec<u8>)> {
        let mut random = Random(self.seed);
        let mut all = Vec::new();
        let mut put = |name: &str, dims: &[usize], dtype: GgmlType, values: Vec<f32>| {
            all.push((name.to_owned(), dims.to_vec(), dtype, encode(values, dims[0], dtype)));
        };
        let conv_dim = DI + 2 * self.groups * N;
        put("token_embd.weight", &[D, VOCAB], self.embedding, random.normal(D * VOCAB, 1.0));
        put("output_norm.weight", &[D], GgmlType::F32, random.uniform(D, 0.2, 0.5));
        if !self.tied {
            put("output.weight", &[D, VOCAB], self.embedding, random.normal(D * VOCAB, 0.3));
        }
        if self.rope_freqs {
            put(
                "rope_freqs.weight",
                &[D / HEADS / 2],
                GgmlType::F32,
                random.uniform(D / HEADS / 2, 1.0, 4.0),
            );
        }
        for i in 0..4 {
            let name = |part: &str| format!("blk.{i}.{part}");
            let mut matrix = |part: &str, cols: usize, rows: usize| {
                put(
                    &name(part),
                    &[cols, rows],
                    self.matrices,
                    random.normal(cols * rows, 1.5 / (cols as f32).sqrt()),
                );
            };
            if i == 2 {
                matrix("attn_q.weight", D, D);
                matrix("attn_k.weight", D, KV * D / HEADS);
                matrix("attn_v.weight", D, KV * D / HEADS);
                matrix("attn_output.weight", D, D);
            } else {
                matrix("ssm_in.weight", D, DI + conv_dim + H);
                matrix("ssm_out.weight", DI, D);
            }
            matrix("ffn_gate.weight", D, FF);
            matrix("ffn_up.weight", D, FF);
            matrix("ffn_down.weight", FF, D);
            put(&name("attn_norm.weight"), &[D], GgmlType::F32, random.uniform(D, 0.5, 1.5));
            put(&name("ffn_norm.weight"), &[D], GgmlType::F32, random.uniform(D, 0.5, 1.5));
            if i != 2 {
                put(
                    &name("ssm_conv1d.weight"),
                    &[4, conv_dim],
                    GgmlType::F32,
                    random.normal(4 * conv_dim, 0.5),
                );
                put(&name("ssm_conv1d.bias"), &[conv_dim], GgmlType::F32, random.normal(conv_dim, 0.2));
                put(&name("ssm_dt.bias"), &[H], GgmlType::F32, random.uniform(H, -4.0, -1.0));
                put(&name("ssm_a"), &[1, H], GgmlType::F32, random.uniform(H, -4.0, -0.2));
                put(&name("ssm_d"), &[1, H], GgmlType::F32, random.uniform(H, 0.5, 1.5));
                let per_group = DI / self.groups;
                put(
                    &name("ssm_norm.weight"),
                    &[per_group, self.groups],
                    GgmlType::F32,
                    random.uniform(DI, 0.5, 1.5),
                );
            }
        }
        all
    }
}

/// The bytes of a tensor with rows of `cols`; candle quantizes.
fn encode(values: Vec<f32>, cols: usize, dtype: GgmlType) -> Vec<u8> {
    let dtype = match dtype {
        GgmlType::F32 => return values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        GgmlType::F16 => GgmlDType::F16,
        GgmlType::Bf16 => GgmlDType::BF16,
        GgmlType::Q4_0 => GgmlDType::Q4_0,
        GgmlType::Q4_1 => GgmlDType::Q4_1,
        GgmlType::Q5_0 => GgmlDType::Q5_0,
        GgmlType::Q5_1 => GgmlDType::Q5_1,
        GgmlType::Q3K => GgmlDType::Q3K,
        GgmlType::Q4K => GgmlDType::Q4K,
        GgmlType::Q5K => GgmlDType::Q5K,
        GgmlType::Q8_0 => GgmlDType::Q8_0,
        GgmlType::Q6K => GgmlDType::Q6K,
        other => panic!("no test quantizes to {other}"),
    };
    let tensor = Tensor::from_vec(values.clone(), (values.len() / cols, cols), &Device::Cpu).unwrap();
    QTensor::quantize(&tensor, dtype).unwrap().data().unwrap().into_owned()
}

pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        // xorshift64* (Vigna 2016); seeds of tests are small, so the first steps mix them.
        for _ in 0..2 {
            self.0 = (self.0 ^ 0x9e37_79b9).max(1);
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
        }
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    fn uniform(&mut self, n: usize, low: f32, high: f32) -> Vec<f32> {
        (0..n).map(|_| low + (high - low) * self.unit()).collect()
    }

    /// Sum of four uniforms: close enough to a bell curve for weights.
    fn normal(&mut self, n: usize, std: f32) -> Vec<f32> {
        let scale = std * 3f32.sqrt();
        (0..n).map(|_| scale * ((0..4).map(|_| self.unit()).sum::<f32>() - 2.0)).collect()
    }

    pub fn tokens(&mut self, n: usize) -> Vec<TokenId> {
        // Ordinary tokens of `byte_data`: after the five control entries.
        (0..n).map(|_| 5 + (self.next() % 259) as TokenId).collect()
    }
}

pub(crate) fn tokens(n: usize) -> Vec<TokenId> {
    Random(7).tokens(n)
}

pub(crate) fn logits(model: &Arc<Model>, tokens: &[TokenId]) -> Vec<f32> {
    Session::new(Arc::clone(model)).logits_all(tokens).unwrap()
}

/// max |a - b| / max |b|
pub(crate) fn relative_error(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = |v: &mut dyn Iterator<Item = f32>| {
        v.fold(0f32, |m, x| if x.is_nan() { f32::NAN } else { m.max(x.abs()) })
    };
    largest(&mut a.iter().zip(b).map(|(a, b)| a - b)) / largest(&mut b.iter().copied())
}

/// Mean over positions of KL(softmax b ‖ softmax a) in nats, and the share of positions with the same best token.
pub(crate) fn divergence(a: &[f32], b: &[f32]) -> (f64, f64) {
    let (mut kl, mut same) = (0.0, 0usize);
    let rows = a.len() / VOCAB;
    for (a, b) in a.chunks_exact(VOCAB).zip(b.chunks_exact(VOCAB)) {
        let (la, lb) = (log_softmax(a), log_softmax(b));
        kl += la.iter().zip(&lb).map(|(la, lb)| lb.exp() * (lb - la)).sum::<f64>();
        let best = |l: &[f64]| (0..l.len()).max_by(|i, j| l[*i].total_cmp(&l[*j]));
        same += usize::from(best(&la) == best(&lb));
    }
    (kl / rows as f64, same as f64 / rows as f64)
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::MIN, f32::max);
    let sum: f64 = logits.iter().map(|l| f64::from(l - max).exp()).sum();
    logits.iter().map(|l| f64::from(l - max) - sum.ln()).collect()
}
