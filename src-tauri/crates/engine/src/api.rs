//! The plain data types of the engine's public surface.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub type TokenId = u32;

/// Which implementation computes the forward pass.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backend {
    /// Own quantized SIMD kernels.
    #[default]
    Fast,
    /// candle, f32, dequantized: slow and plain; the yardstick of every kernel.
    Reference,
}

#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    pub backend: Backend,
    /// 0 = number of physical cores.
    pub threads: usize,
    /// Forces a kernel tier by name ("portable", "avx2", "avx512vnni", ...); `None` = `CHIMERA_CPU`, else the best the CPU has.
    pub cpu_tier: Option<String>,
    /// Refuses a model that needs more bytes than this ([`crate::Model::estimate`]), as it is refused when the system has less.
    pub memory_limit: Option<u64>,
}

/// The file's SHA-256 is not here: it is computed on demand by [`crate::Model::sha256`].
#[derive(Clone, Debug)]
pub struct ModelInfo {
    pub name: String,
    pub file_bytes: u64,
    pub parameters: u64,
    pub context_length: usize,
    pub vocab_size: usize,
    pub quantization: String,
    pub cpu_tier: String,
    pub threads: usize,
}

/// Shared between the thread that generates and whoever may stop it.
#[derive(Clone, Debug, Default)]
pub struct CancelFlag(Arc<AtomicBool>);
impl CancelFlag {
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    System,
    User,
    Assistant,
}

/// One turn of a conversation. `thinking` is what stood between `<think>` and `</think>`; it is not fed back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatMessage {
    pub role: Role,
    pub content: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Think {
    On,
    Off,
    #[default]
    Auto,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 = greedy.
    pub temperature: f32,
    /// 0 = off.
    pub top_k: usize,
    /// 1.0 = off.
    pub top_p: f32,
    /// 0.0 = off.
    pub min_p: f32,
    /// 1.0 = off.
    pub repetition_penalty: f32,
    /// How many of the last tokens the penalty looks at.
    pub repetition_window: usize,
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.7,
            top_k: 40,
            top_p: 0.9,
            min_p: 0.05,
            repetition_penalty: 1.1,
            repetition_window: 128,
            seed: 0,
        }
    }
}

#[derive(Clone, Debug)]
pub struct GenerateOptions {
    pub sampling: Sampling,
    pub max_tokens: usize,
    pub think: Think,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self { sampling: Sampling::default(), max_tokens: 512, think: Think::Auto }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FinishReason {
    /// The model ended its turn.
    Stop,
    /// `max_tokens` or the context window was reached.
    Length,
    Cancelled,
}

/// What generation reports as it goes. Text comes at grapheme boundaries only.
#[derive(Clone, Debug, PartialEq)]
pub enum GenerateEvent<'a> {
    Prefill { done: usize, total: usize },
    Thinking(&'a str),
    Text(&'a str),
}

#[derive(Clone, Debug)]
pub struct Completion {
    pub text: String,
    pub thinking: String,
    pub finish: FinishReason,
    pub prompt_tokens: usize,
    /// Prompt tokens that a snapshot or the live state made it unnecessary to read again.
    pub reused_tokens: usize,
    pub completion_tokens: usize,
}
