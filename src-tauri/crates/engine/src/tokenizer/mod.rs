//! Byte-level BPE, built from the GGUF's own keys. Text is brought to NFC before it is encoded,
//! and ordinary text can never become a control token: control entries are not in the BPE's vocabulary at all.
mod bytes;
mod stream;

pub use stream::StreamDecoder;

use crate::{EngineError, TokenId};
use bytes::push_token_bytes;
use chimera_gguf::{StringArray, TokenType, TokenizerData};
use std::collections::HashMap;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, SplitDelimiterBehavior,
    TokenizerImpl,
};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Same text as `assets/contract/special_tokens.json` (a test compares them); keeps `\p{M}` with its word.
const QWEN35_PATTERN: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Below this many bytes the pattern cannot exhaust the regex engine's backtracking budget (10^6 steps).
const MAX_BISECTED_BYTES: usize = 4096;

type Bpe = TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

pub struct Tokenizer {
    bpe: Bpe,
    tokens: StringArray,
    token_types: Vec<TokenType>,
    controls: HashMap<String, TokenId>,
    /// The token of each single byte: every text can be encoded.
    byte_ids: [TokenId; 256],
}

impl Tokenizer {
    pub fn new(data: &TokenizerData) -> Result<Self, EngineError> {
        if data.pre != "qwen35" {
            return Err(EngineError::UnknownPretokenizer { pre: data.pre.clone() });
        }
        let (tokens, token_types) = (data.tokens.clone(), data.token_types.clone());
        if tokens.len() != token_types.len() {
            return Err(invalid(format!("{} tokens but {} token types", tokens.len(), token_types.len())));
        }
        let controls = of_type(&tokens, &token_types, TokenType::Control).collect();
        let vocab: Vocab = of_type(&tokens, &token_types, TokenType::Normal).collect();
        if vocab.len() != token_types.iter().filter(|t| **t == TokenType::Normal).count() {
            return Err(invalid("a token occurs twice".into()));
        }
        let byte_ids = byte_ids(&vocab)?;
        let merges = split_merges(&data.merges, &vocab)?;
        let model =
            BPE::builder().vocab_and_merges(vocab, merges).build().map_err(|e| invalid(e.to_string()))?;
        let mut bpe = Bpe::new(model);
        bpe.with_pre_tokenizer(Some(pre_tokenizer()?));
        Ok(Self { bpe, tokens, token_types, controls, byte_ids })
    }

    /// Encodes ordinary text. No BOS is added; `<|im_end|>` typed by a person becomes ordinary tokens.
    pub fn encode(&self, text: &str) -> Vec<TokenId> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        match is_nfc_quick(text.chars()) {
            IsNormalized::Yes => self.encode_nfc(text, &mut ids),
            _ => self.encode_nfc(&text.nfc().collect::<String>(), &mut ids),
        }
        ids
    }

    /// The regex engine gives up on absurd runs (a million spaces); such a text is encoded in halves.
    fn encode_nfc(&self, text: &str, ids: &mut Vec<TokenId>) {
        if let Ok(encoding) = self.bpe.encode_fast(text, false) {
            ids.extend_from_slice(encoding.get_ids());
            return;
        }
        if text.len() <= MAX_BISECTED_BYTES {
            ids.extend(text.bytes().map(|b| self.byte_ids[usize::from(b)]));
            return;
        }
        let (left, right) = text.split_at(text.floor_char_boundary(text.len() / 2));
        self.encode_nfc(left, ids);
        self.encode_nfc(right, ids);
    }

    /// The text of `ids`. Control tokens are left out; bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[TokenId]) -> String {
        let mut bytes = Vec::new();
        ids.iter().for_each(|&id| self.push_bytes(id, &mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The bytes that `id` stands for (none for a control token or an id outside the vocabulary).
    fn push_bytes(&self, id: TokenId, out: &mut Vec<u8>) {
        let Some(token) = self.tokens.get(id as usize) else { return };
        if !self.is_control(id) {
            push_token_bytes(token, out);
        }
    }

    /// The id of a control token by its text, such as `<|im_end|>`.
    pub fn control(&self, text: &str) -> Option<TokenId> {
        self.controls.get(text).copied()
    }

    pub fn is_control(&self, id: TokenId) -> bool {
        self.token_types.get(id as usize) == Some(&TokenType::Control)
    }

    /// The entry as it stands in the file (for display and tests).
    pub fn token(&self, id: TokenId) -> Option<&str> {
        self.tokens.get(id as usize)
    }

    pub fn vocab_size(&self) -> usize {
        self.tokens.len()
    }
}

fn invalid(reason: String) -> EngineError {
    EngineError::TokenizerInvalid { reason }
}

fn of_type<'a>(
    tokens: &'a StringArray,
    types: &'a [TokenType],
    kind: TokenType,
) -> impl Iterator<Item = (String, TokenId)> + 'a {
    let of_kind = tokens.iter().zip(types).zip(0..).filter(move |((_, t), _)| **t == kind);
    of_kind.map(|((token, _), id)| (token.to_owned(), id))
}

/// All 256 single-byte entries must exist: without one of them the BPE would drop characters silently.
fn byte_ids(vocab: &Vocab) -> Result<[TokenId; 256], EngineError> {
    let mut ids = [0; 256];
    let mut buffer = [0; 4];
    for (byte, id) in (0..=255u8).zip(&mut ids) {
        let entry = bytes::char_of(byte).encode_utf8(&mut buffer);
        *id = *vocab.get(&*entry).ok_or_else(|| invalid(format!("no token for byte {byte:#04x}")))?;
    }
    Ok(ids)
}

/// Also refuses a merge whose result is no entry: the `tokenizers` builder copies it into a buffer as long as the
/// longest entry before it looks it up.
fn split_merges(merges: &StringArray, vocab: &Vocab) -> Result<Vec<(String, String)>, EngineError> {
    let longest = vocab.keys().map(String::len).max().unwrap_or(0);
    let split = |(rank, merge): (usize, &str)| match merge.split_once(' ') {
        Some((a, b)) if a.len() + b.len() <= longest && !b.contains(' ') => Ok((a.to_owned(), b.to_owned())),
        _ => Err(invalid(format!("merge {rank} is not two entries that make a third"))),
    };
    merges.iter().enumerate().map(split).collect()
}

fn pre_tokenizer() -> Result<Sequence, EngineError> {
    let pattern = SplitPattern::Regex(QWEN35_PATTERN.into());
    let split =
        Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(|e| invalid(e.to_string()))?;
    Ok(Sequence::new(vec![split.into(), ByteLevel::new(false, true, false).into()]))
}

#[cfg(test)]
pub(crate) mod tests;
