//! Byte-level BPE, built from the GGUF's own keys. Text is brought to NFC before it is encoded,
//! and ordinary text can never become a control token: control entries are not in the BPE's vocabulary at all.
mod bytes;
mod pre;
mod special;
mod stream;

pub(crate) use special::Piece;
pub use stream::StreamDecoder;

use crate::{EngineError, TokenId};
use bytes::push_token_bytes;
use chimera_gguf::{StringArray, TokenType, TokenizerData};
use pre::Pre;
use special::Specials;
use std::collections::HashMap;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::{
    DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper, TokenizerImpl,
};
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Entries that end a turn or a document in some family: control tokens, even if the file calls them added text.
pub(crate) const ENDS: [&str; 9] = [
    "<|im_end|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|end|>",
    "<end_of_turn>",
    "</s>",
    "<EOT>",
];

/// The pre-tokenizer of our own files.
const CONTRACT_PRE: &str = "qwen35";

/// Below this many bytes the pattern cannot exhaust the regex engine's backtracking budget (10^6 steps).
const MAX_BISECTED_BYTES: usize = 4096;

type Bpe = TokenizerImpl<BPE, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

pub struct Tokenizer {
    bpe: Bpe,
    tokens: StringArray,
    token_types: Vec<TokenType>,
    controls: HashMap<String, TokenId>,
    /// Finds control entries in what a template has written.
    control_finder: Specials,
    /// Finds the entries that are matched whole in any text.
    added: Specials,
    /// The token of each single byte. A foreign vocabulary may lack bytes that hardly any text has.
    byte_ids: [Option<TokenId>; 256],
    bos: Option<TokenId>,
    eos: Option<TokenId>,
    /// The model was trained with `bos` in front of every text.
    adds_bos: bool,
}

impl Tokenizer {
    pub fn new(data: &TokenizerData) -> Result<Self, EngineError> {
        let pre = Pre::named(&data.pre)?;
        let (tokens, mut token_types) = (data.tokens.clone(), data.token_types.clone());
        if tokens.len() != token_types.len() {
            return Err(invalid(format!("{} tokens but {} token types", tokens.len(), token_types.len())));
        }
        mark_ends(&tokens, &mut token_types);
        let controls: Vec<_> = of_type(&tokens, &token_types, TokenType::Control).collect();
        let added: Vec<_> = of_type(&tokens, &token_types, TokenType::UserDefined).collect();
        let vocab: Vocab = of_type(&tokens, &token_types, TokenType::Normal).collect();
        if vocab.len() != token_types.iter().filter(|t| **t == TokenType::Normal).count() {
            return Err(invalid("a token occurs twice".into()));
        }
        let byte_ids = byte_ids(&vocab, data.pre == CONTRACT_PRE)?;
        let merges = split_merges(&data.merges, &vocab)?;
        let model = BPE::builder().vocab_and_merges(vocab, merges).ignore_merges(pre.whole_words).build();
        let mut bpe = Bpe::new(model.map_err(|e| invalid(e.to_string()))?);
        bpe.with_pre_tokenizer(Some(pre.sequence()?));
        Ok(Self {
            bpe,
            token_types,
            control_finder: Specials::new(&controls)?,
            added: Specials::new(&added)?,
            controls: controls.into_iter().collect(),
            byte_ids,
            bos: data.bos,
            eos: data.eos,
            adds_bos: data.add_bos,
            tokens,
        })
    }

    /// Encodes ordinary text. No BOS is added; `<|im_end|>` typed by a person becomes ordinary tokens.
    pub fn encode(&self, text: &str) -> Vec<TokenId> {
        let mut ids = Vec::with_capacity(text.len() / 3 + 1);
        self.encode_into(text, &mut ids);
        ids
    }

    pub(crate) fn encode_into(&self, text: &str, ids: &mut Vec<TokenId>) {
        match is_nfc_quick(text.chars()) {
            IsNormalized::Yes => self.encode_added(text, ids),
            _ => self.encode_added(&text.nfc().collect::<String>(), ids),
        }
    }

    fn encode_added(&self, text: &str, ids: &mut Vec<TokenId>) {
        self.added.cut(text, |piece| match piece {
            Piece::Token(id) => ids.push(id),
            Piece::Text(text) => self.encode_nfc(text, ids),
        });
    }

    /// Cuts what a template has written at the control tokens in it.
    pub(crate) fn cut_at_controls<'a>(&self, text: &'a str, piece: impl FnMut(Piece<'a>)) {
        self.control_finder.cut(text, piece);
    }

    /// Where the texts of control tokens begin in `text`.
    pub(crate) fn control_starts(&self, text: &str) -> Vec<usize> {
        self.control_finder.starts(text)
    }

    /// The token that every text begins with, if the model was trained so.
    pub fn leading_bos(&self) -> Option<TokenId> {
        self.bos.filter(|_| self.adds_bos)
    }

    pub(crate) fn bos(&self) -> Option<TokenId> {
        self.bos
    }

    pub(crate) fn eos(&self) -> Option<TokenId> {
        self.eos
    }

    /// The regex engine gives up on absurd runs (a million spaces); such a text is encoded in halves.
    fn encode_nfc(&self, text: &str, ids: &mut Vec<TokenId>) {
        if let Ok(encoding) = self.bpe.encode_fast(text, false) {
            ids.extend_from_slice(encoding.get_ids());
            return;
        }
        if text.len() <= MAX_BISECTED_BYTES {
            ids.extend(text.bytes().filter_map(|b| self.byte_ids[usize::from(b)]));
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
        match self.token_types.get(id as usize) {
            Some(TokenType::Control) => {}
            Some(TokenType::UserDefined) => out.extend_from_slice(token.as_bytes()),
            _ => push_token_bytes(token, out),
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

fn mark_ends(tokens: &StringArray, types: &mut [TokenType]) {
    let ends = tokens.iter().zip(types).filter(|(token, _)| ENDS.contains(token));
    // An ordinary entry may be part of a merge.
    ends.filter(|(_, kind)| **kind != TokenType::Normal).for_each(|(_, kind)| *kind = TokenType::Control);
}

/// Our own vocabularies have all 256 single-byte entries: without one of them the BPE would drop characters silently.
/// Of a foreign one `chimera-gguf` has asked for those that ordinary text needs.
fn byte_ids(vocab: &Vocab, all: bool) -> Result<[Option<TokenId>; 256], EngineError> {
    let mut ids = [None; 256];
    let mut buffer = [0; 4];
    for (byte, id) in (0..=255u8).zip(&mut ids) {
        *id = vocab.get(&*bytes::char_of(byte).encode_utf8(&mut buffer)).copied();
        if all && id.is_none() {
            return Err(invalid(format!("no token for byte {byte:#04x}")));
        }
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

#[cfg(test)]
pub(crate) mod tests;
