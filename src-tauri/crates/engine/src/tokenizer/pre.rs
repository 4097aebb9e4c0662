//! Which pattern splits text before the merges: `tokenizer.ggml.pre`, as llama.cpp names them.
//!
//! | pattern | names |
//! |---|---|
//! | ours, keeps marks with their word | `qwen35` |
//! | GPT-2's | `gpt-2` `phi-2` `mpt` `olmo` `exaone4` `granite-docling` |
//! | the same, every digit alone | `smollm` `starcoder` `refact` `command-r` `codeshell` `exaone` `minerva-7b` |
//! | Llama 3's, whole words first | `llama-bpe` `llama3` `llama-v3` `falcon3` `falcon-h1` `pixtral` |
//! | Llama 3's | `dbrx` (Granite 4) `smaug-bpe` |
//! | Qwen 2's | `qwen2` `deepseek-r1-qwen` `stablelm2` `megrez` |
//! | Tekken's, whole words first | `tekken` |
//!
//! Every pattern is the one that the model was trained with. For `tekken` that is not llama.cpp's, whose rewriting has lost
//! the marks (`\p{M}`) and tears Devanagari apart.
use crate::EngineError;
use tokenizers::SplitDelimiterBehavior;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

/// Same text as `assets/contract/special_tokens.json` (a test compares them); keeps `\p{M}` with its word.
pub(super) const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const DIGIT: &str = r"\p{N}";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// How text is cut before the merges.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pre {
    /// One after the other; what a pattern matches and what it leaves are pieces for the next.
    patterns: &'static [&'static str],
    /// A piece that is an entry of the vocabulary is that token, whatever the merges would make of it.
    pub whole_words: bool,
}

const TABLE: [(&[&str], Pre); 7] = [
    (&["qwen35"], Pre { patterns: &[QWEN35], whole_words: false }),
    (
        &["gpt-2", "phi-2", "mpt", "olmo", "exaone4", "granite-docling"],
        Pre { patterns: &[GPT2], whole_words: false },
    ),
    (
        &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        Pre { patterns: &[DIGIT, GPT2], whole_words: false },
    ),
    (
        &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral"],
        Pre { patterns: &[LLAMA3], whole_words: true },
    ),
    (&["dbrx", "smaug-bpe"], Pre { patterns: &[LLAMA3], whole_words: false }),
    (&["qwen2", "deepseek-r1-qwen", "stablelm2", "megrez"], Pre { patterns: &[QWEN2], whole_words: false }),
    (&["tekken"], Pre { patterns: &[TEKKEN], whole_words: true }),
];

/// Every name that is known.
pub(crate) fn supported() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|(names, _)| names.iter().copied())
}

impl Pre {
    pub fn named(name: &str) -> Result<Self, EngineError> {
        let found = TABLE.iter().find(|(names, _)| names.contains(&name)).map(|(_, pre)| *pre);
        found.ok_or_else(|| EngineError::UnknownPretokenizer {
            pre: name.to_owned(),
            supported: supported().collect::<Vec<_>>().join(", "),
        })
    }

    pub fn sequence(self) -> Result<Sequence, EngineError> {
        let split = |pattern: &&str| {
            let pattern = SplitPattern::Regex((*pattern).into());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
            split.map(Into::into).map_err(|e| super::invalid(e.to_string()))
        };
        let mut steps = self.patterns.iter().map(split).collect::<Result<Vec<_>, _>>()?;
        steps.push(ByteLevel::new(false, true, false).into());
        Ok(Sequence::new(steps))
    }
}
