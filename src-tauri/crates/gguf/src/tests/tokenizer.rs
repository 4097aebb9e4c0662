//! The tokenizer's lists must agree with each other and with the embedding.
use super::fixture::{Draft, VOCAB, draft, tokens};
use crate::{Gguf, Limits, ModelError, TokenType, TokenizerData, ValidModel, Value};
use ModelError as E;

fn load(draft: &Draft) -> Result<TokenizerData, ModelError> {
    ValidModel::from_gguf(Gguf::parse(&draft.build(), &Limits::default()).unwrap()).map(|m| m.tokenizer)
}

fn with(key: &str, value: impl Into<Value>) -> ModelError {
    load(&draft().set(&format!("tokenizer.ggml.{key}"), value))
        .expect_err("the tokenizer breaks the contract")
}

fn types(change: impl Fn(&mut Vec<i32>)) -> Vec<i32> {
    let mut types: Vec<i32> = (0..VOCAB).map(|i| if i > 256 { 3 } else { 1 }).collect();
    change(&mut types);
    types
}

fn changed(id: usize, text: &str) -> Vec<String> {
    let mut tokens = tokens();
    tokens[id] = text.into();
    tokens
}

#[test]
fn accepts_a_byte_level_bpe() {
    let tokenizer = load(&draft()).unwrap();
    assert_eq!((tokenizer.pre.as_str(), tokenizer.eos, tokenizer.bos), ("qwen35", Some(259), None));
    assert_eq!(tokenizer.tokens.get(256), Some("Ġa"));
    assert_eq!(
        tokenizer.token_types[256..],
        [TokenType::Normal, TokenType::Control, TokenType::Control, TokenType::Control]
    );
    assert_eq!(tokenizer.merges.iter().collect::<Vec<_>>(), ["Ġ a"]);
    assert_eq!(tokenizer.chat_template.as_deref(), Some("{{ messages }}"));
    assert!(!tokenizer.add_bos && !tokenizer.add_eos);
}

#[test]
fn rejects_another_tokenizer_model() {
    assert_eq!(with("model", "llama"), E::TokenizerModel { found: "llama".into() });
}

#[test]
fn rejects_lists_of_different_lengths() {
    let short = types(|t| t.truncate(VOCAB - 1));
    assert!(matches!(with("token_type", short), E::WrongLength { found: 259, expected: 260, .. }));
    let none: Vec<String> = vec![];
    assert!(matches!(with("tokens", none), E::WrongLength { .. }));
    let more: Vec<String> = tokens().into_iter().chain(["extra".into()]).collect();
    let draft =
        draft().set("tokenizer.ggml.tokens", more).set("tokenizer.ggml.token_type", types(|t| t.push(1)));
    assert!(matches!(load(&draft), Err(E::WrongShape { .. })), "the embedding has one row less");
}

#[test]
fn rejects_a_vocab_size_that_is_not_the_list_length() {
    let draft = draft().set("granitehybrid.vocab_size", 300u32);
    assert!(matches!(load(&draft), Err(E::Inconsistent { found: 300, .. })));
}

#[test]
fn rejects_unknown_and_wrongly_typed_token_types() {
    assert_eq!(with("token_type", types(|t| t[7] = 0)), E::TokenType { id: 7, found: 0 });
    assert_eq!(with("token_type", types(|t| t[7] = -1)), E::TokenType { id: 7, found: -1 });
    assert!(matches!(with("token_type", vec![1.0f32; VOCAB]), E::WrongType { .. }));
    assert!(matches!(with("tokens", vec![1i32; VOCAB]), E::WrongType { .. }));
}

#[test]
fn rejects_empty_and_duplicate_tokens() {
    assert_eq!(with("tokens", changed(258, "")), E::EmptyToken { id: 258 });
    assert_eq!(with("tokens", changed(258, "Ġa")), E::DuplicateToken { first: 256, second: 258 });
}

#[test]
fn rejects_a_vocabulary_without_a_token_for_every_byte() {
    assert_eq!(with("tokens", changed(0, "x0")), E::MissingByte { byte: 0 });
    assert_eq!(with("tokens", changed(255, "x255")), E::MissingByte { byte: 255 });
}

#[test]
fn rejects_byte_tokens_that_are_not_two_hex_digits() {
    for text in ["<0x-1>", "<0x1>", "<0x123>", "<0xgg>", "0x41"] {
        let draft = draft().set("tokenizer.ggml.tokens", changed(258, text));
        let draft = draft.set("tokenizer.ggml.token_type", types(|t| t[258] = 6));
        assert_eq!(load(&draft), Err(E::BadByteToken { id: 258 }), "{text}");
    }
}

#[test]
fn rejects_merges_that_are_not_of_the_vocabulary() {
    for merge in ["", "Ġa", "Ġ  a", "Ġ zz", "a Ġ"] {
        assert_eq!(
            with("merges", vec!["Ġ a".to_string(), merge.into()]),
            E::BadMerge { index: 1 },
            "{merge}"
        );
    }
}

#[test]
fn rejects_special_ids_beyond_the_vocabulary() {
    for key in ["bos_token_id", "eos_token_id", "eot_token_id", "padding_token_id", "unknown_token_id"] {
        let found = with(key, VOCAB as u32);
        assert!(matches!(&found, E::TokenId { id: 260, vocab: 260, .. }), "{found}");
    }
    assert!(matches!(with("eos_token_id", -1i32), E::WrongType { .. }));
}

#[test]
fn rejects_a_chat_template_that_is_no_string() {
    let draft = draft().set("tokenizer.chat_template", 1u32);
    assert!(matches!(load(&draft), Err(E::WrongType { .. })));
}
