//! The tokenizer's keys: a byte-level BPE whose lists agree with each other.
use super::keys::Keys;
use super::{ModelError, config};
use crate::{Array, Gguf, StringArray};
use std::collections::HashMap;

const MAX_VOCAB: usize = 1 << 20;
/// The pre-tokenizer of our own files, whose vocabulary has every byte.
const CONTRACT_PRE: &str = "qwen35";

/// llama.cpp's `llama_token_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenType {
    Normal,
    Unknown,
    /// Never produced from text.
    Control,
    /// Added text that is matched whole, but is no control token.
    UserDefined,
    Unused,
    Byte,
}

/// A `gpt2` tokenizer. The three lists agree, ids are below the vocabulary's size, every byte has a token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerData {
    /// Name of the pre-tokenizer's pattern, e.g. `qwen35`; the engine decides whether it knows it.
    pub pre: String,
    /// In GPT-2's byte-to-unicode spelling, control tokens as plain text. The length is the vocabulary's size.
    pub tokens: StringArray,
    pub token_types: Vec<TokenType>,
    /// `left right`, best first.
    pub merges: StringArray,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub eot: Option<u32>,
    pub padding: Option<u32>,
    pub unknown: Option<u32>,
    pub add_bos: bool,
    pub add_eos: bool,
    /// Opaque: nothing here looks inside.
    pub chat_template: Option<String>,
}

impl TokenizerData {
    pub(super) fn read(gguf: &Gguf) -> Result<Self, ModelError> {
        config::read_family(gguf)?;
        let keys = Keys { gguf, prefix: "tokenizer.ggml." };
        check_model(&keys)?;
        let tokens = read_strings(&keys, "tokens")?.clone();
        let token_types = read_types(&keys, tokens.len())?;
        let ids = index_tokens(&tokens)?;
        let pre = keys.str("pre")?.unwrap_or("default");
        check_bytes(pre, &tokens, &token_types, &ids)?;
        let merges = read_strings(&keys, "merges")?.clone();
        check_merges(&merges, &ids)?;
        let id = |key: &str| read_id(&keys, key, tokens.len());
        Ok(Self {
            pre: pre.to_owned(),
            bos: id("bos_token_id")?,
            eos: id("eos_token_id")?,
            eot: id("eot_token_id")?,
            padding: id("padding_token_id")?,
            unknown: id("unknown_token_id")?,
            add_bos: keys.bool("add_bos_token")?.unwrap_or(begins_with_bos(pre)),
            add_eos: keys.bool("add_eos_token")?.unwrap_or(false),
            chat_template: Keys { gguf, prefix: "tokenizer." }.str("chat_template")?.map(str::to_owned),
            tokens,
            token_types,
            merges,
        })
    }
}

/// llama.cpp's default where the file has no `add_bos_token`: on for the pre-tokenizers of Llama 3 and Tekken.
fn begins_with_bos(pre: &str) -> bool {
    const LLAMA3: [&str; 6] = ["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral"];
    pre == "tekken" || LLAMA3.contains(&pre)
}

fn check_model(keys: &Keys<'_>) -> Result<(), ModelError> {
    match keys.required("model", keys.str("model"))? {
        "gpt2" => Ok(()),
        found => Err(ModelError::TokenizerModel { found: found.to_owned() }),
    }
}

fn read_strings<'a>(keys: &Keys<'a>, key: &str) -> Result<&'a StringArray, ModelError> {
    let expected = "an array of strings";
    let array = keys.required(key, keys.array(key, expected))?;
    let wrong = || ModelError::WrongType { key: keys.full(key), expected, found: array.element_type() };
    array.as_strings().ok_or_else(wrong)
}

fn read_types(keys: &Keys<'_>, vocab: usize) -> Result<Vec<TokenType>, ModelError> {
    const KEY: &str = "token_type";
    let expected = "an array of i32 or u32";
    let codes: Vec<i64> = match keys.required(KEY, keys.array(KEY, expected))? {
        Array::I32(v) => v.iter().map(|&t| t.into()).collect(),
        Array::U32(v) => v.iter().map(|&t| t.into()).collect(),
        other => {
            return Err(ModelError::WrongType { key: keys.full(KEY), expected, found: other.element_type() });
        }
    };
    if codes.len() != vocab || vocab == 0 || vocab > MAX_VOCAB {
        return Err(ModelError::WrongLength { key: keys.full(KEY), found: codes.len(), expected: vocab });
    }
    codes.iter().enumerate().map(|(id, &code)| token_type(id, code)).collect()
}

fn token_type(id: usize, code: i64) -> Result<TokenType, ModelError> {
    Ok(match code {
        1 => TokenType::Normal,
        2 => TokenType::Unknown,
        3 => TokenType::Control,
        4 => TokenType::UserDefined,
        5 => TokenType::Unused,
        6 => TokenType::Byte,
        found => return Err(ModelError::TokenType { id, found }),
    })
}

fn index_tokens(tokens: &StringArray) -> Result<HashMap<&str, usize>, ModelError> {
    let mut ids = HashMap::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        if token.is_empty() {
            return Err(ModelError::EmptyToken { id });
        }
        if let Some(first) = ids.insert(token, id) {
            return Err(ModelError::DuplicateToken { first, second: id });
        }
    }
    Ok(ids)
}

/// Byte tokens are spelled right, and no byte that text needs is without a token.
fn check_bytes(
    pre: &str,
    tokens: &StringArray,
    types: &[TokenType],
    ids: &HashMap<&str, usize>,
) -> Result<(), ModelError> {
    let is_byte = |t: &str| {
        let hex = t.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
        hex.is_some_and(|h| h.len() == 2 && h.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let mut typed = tokens.iter().zip(types).enumerate();
    if let Some((id, _)) = typed.find(|(_, (text, kind))| **kind == TokenType::Byte && !is_byte(text)) {
        return Err(ModelError::BadByteToken { id });
    }
    let is_needed = |byte: u8| pre == CONTRACT_PRE || is_common(byte);
    let mut needed = byte_alphabet().filter(|(byte, _)| is_needed(*byte));
    let missing = needed.find(|(_, symbol)| !ids.contains_key(symbol.to_string().as_str()));
    match missing {
        Some((byte, _)) => Err(ModelError::MissingByte { byte }),
        None => Ok(()),
    }
}

/// Bytes that ordinary text is made of. Foreign vocabularies, learned from text alone, lack some of the others: control
/// characters, what UTF-8 never uses, and the beginnings of planes 4 to 16. Such a byte is left out when it is encoded.
fn is_common(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..=0xbf | 0xc2..=0xf0)
}

/// GPT-2's spelling of bytes: printable ones as themselves, the others, in order, from U+0100 on.
fn byte_alphabet() -> impl Iterator<Item = (u8, char)> {
    let mut next = 0x100..;
    (0..=255u8).map(move |byte| match byte {
        b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff => (byte, char::from(byte)),
        _ => (byte, next.next().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)),
    })
}

fn check_merges(merges: &StringArray, ids: &HashMap<&str, usize>) -> Result<(), ModelError> {
    let mut joined = String::new();
    let mut is_good = |merge: &str| {
        let Some((left, right)) = merge.split_once(' ') else { return false };
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        [left, right, &joined].iter().all(|part| ids.contains_key(part))
    };
    match merges.iter().position(|merge| !is_good(merge)) {
        Some(index) => Err(ModelError::BadMerge { index }),
        None => Ok(()),
    }
}

fn read_id(keys: &Keys<'_>, key: &str, vocab: usize) -> Result<Option<u32>, ModelError> {
    match keys.u32(key)? {
        Some(id) if id as usize >= vocab => Err(ModelError::TokenId { key: keys.full(key), id, vocab }),
        id => Ok(id),
    }
}
