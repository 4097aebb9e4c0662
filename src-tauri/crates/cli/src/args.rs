//! The command line.
use crate::convert::FloatType;
use crate::quantize::{EmbeddingType, MatrixType};
use chimera_engine::{Backend, GenerateOptions, LoadOptions, Sampling, Think};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  2    wrong usage (unknown option, option out of range, input = output)
  3    no model found
  4    the model file or checkpoint is damaged, foreign or breaks the contract
  5    the input (messages, rows, text, tensors) is invalid
  6    reading or writing failed, or the disk is full
  7    the engine failed
  8    no llama.cpp to compare with was found, or it failed
  130  interrupted by Ctrl-C

Messages are in Hindi when LC_ALL, LC_MESSAGES or LANG starts with hi.
Without --model: $CHIMERA_MODEL, else the model in use, else the bundled one.";

#[derive(Parser)]
#[command(name = "chimera", version, about = "Offline Hindi/English chat on the CPU", after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub enum Command {
    /// Talk to the model: interactive, one question, a list of messages, or a file of rows
    Chat(ChatArgs),
    /// Turn a Transformers directory into a float GGUF
    Convert(ConvertArgs),
    /// Turn a float GGUF into Q4_0 or Q8_0
    Quantize(QuantizeArgs),
    /// Show what is in a GGUF file
    Inspect(InspectArgs),
    /// Check a model file: structure, contract, finite weights, tokenizer
    Verify(VerifyArgs),
    /// Measure load time, first token, prefill and decode speed, peak memory
    Bench(BenchArgs),
    /// Evaluate a model
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Print the token ids of a text
    Tokenize(TokenizeArgs),
}

#[derive(Args)]
pub struct ConvertArgs {
    /// Directory with config.json, tokenizer.json and model.safetensors (or shards with their index)
    pub dir: PathBuf,
    #[arg(short, long)]
    pub out: PathBuf,
    /// Type of the matrices; vectors, convolution and recurrence are always F32
    #[arg(long, value_enum, default_value = "f16")]
    pub r#type: FloatType,
    /// general.name; the directory's name by default
    #[arg(long)]
    pub name: Option<String>,
    /// general.license
    #[arg(long)]
    pub license: Option<String>,
    /// general.languages
    #[arg(long, value_delimiter = ',', default_values = ["hi", "en"])]
    pub languages: Vec<String>,
}

#[derive(Args)]
pub struct QuantizeArgs {
    pub input: PathBuf,
    pub output: PathBuf,
    /// Type of the matrices
    #[arg(long, value_enum, default_value = "q4_0")]
    pub r#type: MatrixType,
    /// Type of the (tied) embedding; q6_k needs rows that are a multiple of 256
    #[arg(long, value_enum, default_value = "q6_k")]
    pub embedding: EmbeddingType,
}

#[derive(Args)]
pub struct InspectArgs {
    pub file: PathBuf,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
pub struct VerifyArgs {
    pub file: PathBuf,
    #[arg(long)]
    pub json: bool,
}

/// Which model, and what computes it.
#[derive(Args, Clone)]
pub struct ModelArgs {
    /// GGUF file
    #[arg(long)]
    pub model: Option<PathBuf>,
    /// 0 = the number of physical cores
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    #[arg(long, value_enum, default_value = "fast")]
    pub backend: BackendArg,
    /// Forces a kernel tier, for example portable or avx2
    #[arg(long, value_name = "TIER")]
    pub cpu: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BackendArg {
    /// Own quantized kernels
    Fast,
    /// candle in f32: slow and plain
    Reference,
}

impl BackendArg {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Reference => "reference",
        }
    }
}

impl ModelArgs {
    pub fn load_options(&self) -> LoadOptions {
        let backend = match self.backend {
            BackendArg::Fast => Backend::Fast,
            BackendArg::Reference => Backend::Reference,
        };
        LoadOptions { backend, threads: self.threads, cpu_tier: self.cpu.clone(), ..LoadOptions::default() }
    }
}

#[derive(Args, Clone)]
pub struct SamplingArgs {
    /// Same seed, file, options and CPU tier: same answer
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    #[arg(long, default_value_t = 512)]
    pub max_tokens: usize,
    /// 0 = always the likeliest token
    #[arg(long, default_value_t = Sampling::default().temperature)]
    pub temperature: f32,
    /// 0 = off
    #[arg(long, default_value_t = Sampling::default().top_k)]
    pub top_k: usize,
    /// 1 = off
    #[arg(long, default_value_t = Sampling::default().top_p)]
    pub top_p: f32,
    /// 0 = off
    #[arg(long, default_value_t = Sampling::default().min_p)]
    pub min_p: f32,
    /// 1 = off
    #[arg(long, default_value_t = Sampling::default().repetition_penalty)]
    pub repetition_penalty: f32,
    /// Whether the model thinks before it answers; auto leaves it to the model
    #[arg(long, value_enum, default_value = "auto")]
    pub think: ThinkArg,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ThinkArg {
    On,
    Off,
    Auto,
}

impl From<ThinkArg> for Think {
    fn from(think: ThinkArg) -> Self {
        match think {
            ThinkArg::On => Self::On,
            ThinkArg::Off => Self::Off,
            ThinkArg::Auto => Self::Auto,
        }
    }
}

impl SamplingArgs {
    pub fn generate_options(&self) -> GenerateOptions {
        let sampling = Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
            ..Sampling::default()
        };
        GenerateOptions { sampling, max_tokens: self.max_tokens, think: self.think.into() }
    }
}

#[derive(Args)]
pub struct ChatArgs {
    /// One question; without it, --messages and --batch, the chat is interactive
    #[arg(conflicts_with_all = ["messages", "batch"])]
    pub question: Option<String>,
    /// Answer a JSON list of {"role", "content"}
    #[arg(long, value_name = "FILE.json", conflicts_with = "batch")]
    pub messages: Option<PathBuf>,
    /// Answer every {"messages": [...]} line of the first file into the second
    #[arg(long, num_args = 2, value_names = ["IN.jsonl", "OUT.jsonl"])]
    pub batch: Option<Vec<PathBuf>>,
    #[command(flatten)]
    pub model: ModelArgs,
    #[command(flatten)]
    pub sampling: SamplingArgs,
}

#[derive(Args)]
pub struct BenchArgs {
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Tokens of the prompt whose reading is timed
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..))]
    pub prompt_tokens: u32,
    /// Tokens that are then written
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub decode_tokens: u32,
    /// How often each figure is measured; the median is reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeats: u32,
    /// Measures an installed llama.cpp in turn with Chimera, on the same file and threads, and prints the ratios
    #[arg(long, value_enum, value_name = "PEER")]
    pub against: Option<Against>,
    /// Where llama.cpp is: its shared library, its folder, its llama-bench, or a Python that has xllamacpp or llama_cpp
    /// [default: CHIMERA_LLAMA_CPP, else llama-bench on PATH, else python3]
    // Not clap's `env`: the variable alone would then ask for --against in every other use of `bench`.
    #[arg(long, value_name = "PATH", requires = "against")]
    pub peer: Option<PathBuf>,
    /// Seconds that --against may take; what does not fit is shortened or left out, and said
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u32).range(10..))]
    pub budget: u32,
    /// Position at which --against measures decode_4096 (less where the model's context is shorter)
    #[arg(long, default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    pub depth: u32,
    /// Internal: one side of --against, told what to do by standard input
    #[arg(long, hide = true)]
    pub worker: bool,
    /// Internal: load, read a 64-token prompt, print its first token and exit
    #[arg(long, hide = true)]
    pub first_token_probe: bool,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Against {
    #[value(name = "llama.cpp")]
    LlamaCpp,
}

#[derive(Subcommand)]
pub enum EvalCommand {
    /// Bits per byte of a text: windows of --context tokens, the second half of each scored (as llama-perplexity)
    Bpb(BpbArgs),
    /// Raw little-endian f32 logits [tokens, vocabulary] of a JSON list of ids
    #[command(hide = true)]
    Logits(LogitsArgs),
}

#[derive(Args)]
pub struct BpbArgs {
    pub file: PathBuf,
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(4..))]
    pub context: u32,
    /// One JSON object instead of text
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Args)]
pub struct LogitsArgs {
    #[arg(long)]
    pub tokens_file: PathBuf,
    #[arg(long)]
    pub out: PathBuf,
    #[command(flatten)]
    pub model: ModelArgs,
}

#[derive(Args)]
pub struct TokenizeArgs {
    /// The text; standard input when it is missing
    pub text: Option<String>,
    /// A JSON list of ids instead of one line of ids and pieces a token
    #[arg(long)]
    pub json: bool,
    #[arg(long)]
    pub model: Option<PathBuf>,
}
