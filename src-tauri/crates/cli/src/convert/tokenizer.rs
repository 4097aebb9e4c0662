//! `tokenizer.json` → the `tokenizer.ggml.*` lists.
use super::{CheckpointError, TokenizerFault, json};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;

/// One source for training, engine and converter.
const CONTRACT: &str = include_str!("../../../../../assets/contract/special_tokens.json");

/// Used when the directory brings no chat template of its own.
const CHATML: &str = include_str!("../../../../../assets/contract/chat_template.jinja");

const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const UNUSED: i32 = 5;

#[derive(Deserialize)]
struct Contract {
    roles: HashMap<String, String>,
    pre: String,
    pattern: String,
}

#[derive(Deserialize)]
struct RawTokenizer {
    model: RawModel,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    normalizer: Option<serde_json::Value>,
    pre_tokenizer: serde_json::Value,
}

#[derive(Deserialize)]
struct RawModel {
    r#type: Option<String>,
    vocab: HashMap<String, u32>,
    merges: Vec<Merge>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
}

/// `"left right"` or, since tokenizers 0.20, `["left", "right"]`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Joined(String),
    Pair(String, String),
}

#[derive(Deserialize)]
struct AddedToken {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

#[derive(Debug)]
pub struct Tokenizer {
    pub pre: String,
    pub tokens: Vec<String>,
    pub types: Vec<i32>,
    pub merges: Vec<String>,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
    pub eot: Option<u32>,
    pub pad: Option<u32>,
    pub chat_template: String,
}

impl Tokenizer {
    pub fn read(dir: &Path, vocab_size: usize) -> Result<Self, CheckpointError> {
        let raw: RawTokenizer = json::read(&dir.join("tokenizer.json"))?;
        let contract: Contract = serde_json::from_str(CONTRACT).map_err(|e| CheckpointError::Json {
            file: "assets/contract/special_tokens.json".into(),
            line: e.line(),
            reason: e.to_string(),
        })?;
        check_model(&raw, &contract)?;
        let (tokens, types) = lists(&raw, vocab_size)?;
        let role = |name: &str| {
            let text = contract.roles.get(name)?;
            raw.added_tokens.iter().find(|t| t.special && t.content == *text).map(|t| t.id)
        };
        let (bos, eos, eot, pad) = (role("bos"), role("eos"), role("eot"), role("pad"));
        let merges = merges(&raw.model.merges)?;
        let chat_template = chat_template(dir)?;
        Ok(Self { pre: contract.pre, tokens, types, merges, bos, eos, eot, pad, chat_template })
    }
}

fn check_model(raw: &RawTokenizer, contract: &Contract) -> Result<(), TokenizerFault> {
    let model = &raw.model;
    let kind = model.r#type.as_deref().unwrap_or("BPE");
    if kind != "BPE" {
        return Err(TokenizerFault::Model { found: kind.to_owned() });
    }
    let is_set = |option: &Option<String>| option.as_deref().is_some_and(|s| !s.is_empty());
    let options = [
        ("byte_fallback", model.byte_fallback),
        ("ignore_merges", model.ignore_merges),
        ("continuing_subword_prefix", is_set(&model.continuing_subword_prefix)),
        ("end_of_word_suffix", is_set(&model.end_of_word_suffix)),
    ];
    if let Some((option, _)) = options.into_iter().find(|(_, set)| *set) {
        return Err(TokenizerFault::Option { option });
    }
    if raw.normalizer.is_some() {
        return Err(TokenizerFault::Normalizer);
    }
    if is_contract_pattern(&raw.pre_tokenizer, &contract.pattern) {
        Ok(())
    } else {
        Err(TokenizerFault::Pretokenizer)
    }
}

/// Sequence[Split(pattern, isolated), ByteLevel(no prefix space, no regex of its own)].
fn is_contract_pattern(pre: &serde_json::Value, pattern: &str) -> bool {
    let (split, bytes) = (&pre["pretokenizers"][0], &pre["pretokenizers"][1]);
    pre["type"] == "Sequence"
        && pre["pretokenizers"].as_array().is_some_and(|list| list.len() == 2)
        && split["type"] == "Split"
        && split["pattern"]["Regex"] == pattern
        && split["behavior"] == "Isolated"
        && split["invert"] == false
        && bytes["type"] == "ByteLevel"
        && bytes["add_prefix_space"] == false
        && bytes["use_regex"] == false
}

/// Tokens by id, and their types. An id nobody uses becomes `[PADn]`, type unused, as llama.cpp's converter names it.
fn lists(raw: &RawTokenizer, vocab_size: usize) -> Result<(Vec<String>, Vec<i32>), TokenizerFault> {
    let mut slots: Vec<Option<(&str, i32)>> = vec![None; vocab_size];
    let added = raw.added_tokens.iter().map(|t| {
        let kind = if t.special { CONTROL } else { USER_DEFINED };
        (t.content.as_str(), t.id, kind)
    });
    let is_added = |token: &str| raw.added_tokens.iter().any(|t| t.content == token);
    let normal =
        raw.model.vocab.iter().filter(|(t, _)| !is_added(t)).map(|(t, &id)| (t.as_str(), id, NORMAL));
    for (token, id, kind) in added.chain(normal) {
        let slot = slots.get_mut(id as usize).ok_or_else(|| TokenizerFault::IdTooLarge {
            token: token.to_owned(),
            id,
            vocab: vocab_size,
        })?;
        if let Some((first, _)) = slot.replace((token, kind)) {
            return Err(TokenizerFault::SharedId { first: first.to_owned(), second: token.to_owned(), id });
        }
    }
    let filled = slots.into_iter().enumerate().map(|(id, slot)| match slot {
        Some((token, kind)) => (token.to_owned(), kind),
        None => (format!("[PAD{id}]"), UNUSED),
    });
    Ok(filled.unzip())
}

fn merges(raw: &[Merge]) -> Result<Vec<String>, TokenizerFault> {
    let join = |(index, merge): (usize, &Merge)| match merge {
        Merge::Joined(line) if line.matches(' ').count() == 1 => Ok(line.clone()),
        Merge::Pair(left, right) if !left.contains(' ') && !right.contains(' ') => {
            Ok(format!("{left} {right}"))
        }
        _ => Err(TokenizerFault::Merge { index }),
    };
    raw.iter().enumerate().map(join).collect()
}

/// `chat_template.jinja`, else the string in `tokenizer_config.json`, else the contract's.
fn chat_template(dir: &Path) -> Result<String, CheckpointError> {
    let file = dir.join("chat_template.jinja");
    if file.is_file() {
        return std::fs::read_to_string(&file).map_err(|source| CheckpointError::unreadable(&file, source));
    }
    let config: Option<serde_json::Value> = json::read_optional(&dir.join("tokenizer_config.json"))?;
    let template = config.as_ref().and_then(|c| c["chat_template"].as_str()).unwrap_or(CHATML);
    Ok(template.to_owned())
}
