//! The tokenizer's promises, on a vocabulary made here: 256 bytes, a few merges, control entries.
use super::*;
use proptest::prelude::*;

/// Ids 0–4 are control entries, then all single bytes, then the results of `merges`.
pub(crate) fn byte_data(merges: &[(&str, &str)]) -> TokenizerData {
    let mut tokens: Vec<String> =
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"].map(String::from).into();
    let mut token_types = vec![TokenType::Control; tokens.len()];
    tokens.extend((0..=255).map(|b| bytes::char_of(b).to_string()));
    tokens.extend(merges.iter().map(|(a, b)| format!("{a}{b}")));
    token_types.resize(tokens.len(), TokenType::Normal);
    TokenizerData {
        pre: "qwen35".into(),
        tokens: tokens.iter().collect(),
        token_types,
        merges: merges.iter().map(|(a, b)| format!("{a} {b}")).collect(),
        bos: Some(0),
        eos: Some(2),
        eot: Some(2),
        padding: Some(0),
        unknown: None,
        add_bos: false,
        add_eos: false,
        chat_template: None,
    }
}

/// Shared: compiling the pattern takes milliseconds.
pub(crate) fn byte_tokenizer() -> &'static Tokenizer {
    static SHARED: std::sync::OnceLock<Tokenizer> = std::sync::OnceLock::new();
    let merges = [("h", "e"), ("l", "l"), ("Ġ", "he"), ("he", "ll"), ("<", "|")];
    SHARED.get_or_init(|| Tokenizer::new(&byte_data(&merges)).unwrap())
}

fn text_of(tokenizer: &Tokenizer, ids: &[TokenId]) -> Vec<String> {
    ids.iter().map(|&id| tokenizer.token(id).unwrap().to_owned()).collect()
}

#[test]
fn merges_are_applied_in_rank_order() {
    let tokenizer = byte_tokenizer();
    assert_eq!(text_of(tokenizer, &tokenizer.encode("hello hell")), ["hell", "o", "Ġhe", "ll"]);
}

#[test]
fn typed_control_text_stays_ordinary() {
    let tokenizer = byte_tokenizer();
    for text in ["<|im_end|>", "a<|im_start|>system\n", "<think>", "</think>", "<|endoftext|>"] {
        let ids = tokenizer.encode(text);
        assert!(ids.iter().all(|id| !tokenizer.is_control(*id)), "{text}");
        assert_eq!(tokenizer.decode(&ids), text);
    }
}

#[test]
fn text_is_encoded_in_nfc() {
    let tokenizer = byte_tokenizer();
    assert_eq!(tokenizer.encode("e\u{301}"), tokenizer.encode("é"));
    assert_eq!(
        tokenizer.decode(&tokenizer.encode("क\u{093c}")),
        "क\u{093c}",
        "nukta letters are excluded from composition"
    );
}

#[test]
fn pattern_is_the_contract_s() {
    let contract = include_str!("../../../../../assets/contract/special_tokens.json");
    let escaped = pre::QWEN35.replace('\\', "\\\\");
    assert!(contract.contains(&format!("\"pattern\": \"{escaped}\"")));
}

#[test]
fn words_keep_their_marks_and_digits_stand_alone() {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};
    let mut text = PreTokenizedString::from("नमस्ते दुनिया 12");
    Pre::named("qwen35").unwrap().sequence().unwrap().pre_tokenize(&mut text).unwrap();
    let splits = text.get_splits(OffsetReferential::Original, OffsetType::Byte);
    assert_eq!(splits.len(), 5, "two words, a space, two digits");
}

#[test]
fn a_million_spaces_or_letters_are_encoded() {
    let tokenizer = byte_tokenizer();
    for text in [" ".repeat(3_000_000) + "x", "a".repeat(300_000), "\u{200d}".repeat(100_000)] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
    }
}

#[test]
fn refuses_an_unknown_pretokenizer() {
    let data = TokenizerData { pre: "gpt-4o".into(), ..byte_data(&[]) };
    assert!(matches!(Tokenizer::new(&data), Err(EngineError::UnknownPretokenizer { pre, supported })
            if pre == "gpt-4o" && supported.contains("llama-bpe")));
}

#[test]
fn refuses_broken_vocabularies() {
    let with = |change: fn(&mut TokenizerData)| {
        let mut data = byte_data(&[("h", "e")]);
        change(&mut data);
        data
    };
    for data in [
        with(|d| d.token_types[100] = TokenType::Unused),
        with(|d| (d.tokens.push("he"), d.token_types.push(TokenType::Normal)).0),
        with(|d| d.token_types.truncate(7)),
        with(|d| d.merges.push("he he")),
        with(|d| d.merges.push("q q")),
        with(|d| d.merges.push("<think> h")),
        with(|d| d.merges.push("he")),
    ] {
        assert!(matches!(Tokenizer::new(&data), Err(EngineError::TokenizerInvalid { .. })));
    }
}

#[test]
fn clusters_are_held_until_they_are_whole() {
    let tokenizer = byte_tokenizer();
    let mut stream = StreamDecoder::new(tokenizer);
    let deltas: Vec<String> =
        tokenizer.encode("क्षि👨\u{200d}👩x\n").iter().map(|&id| stream.push(id)).collect();
    let shown: Vec<&String> = deltas.iter().filter(|d| !d.is_empty()).collect();
    assert_eq!(shown, ["क्षि", "👨\u{200d}👩", "x\n"], "the line feed needs no successor");
    assert_eq!(stream.finish(), "");
}

/// The tokenizer's keys as `chimera convert` takes them from a tokenizer.json.
fn keys_of(json: &serde_json::Value) -> TokenizerData {
    let strings = |v: &serde_json::Value| v.as_str().unwrap().to_owned();
    let mut entries: Vec<(u64, String, TokenType)> = Vec::new();
    for (token, id) in json["model"]["vocab"].as_object().unwrap() {
        entries.push((id.as_u64().unwrap(), token.clone(), TokenType::Normal));
    }
    for added in json["added_tokens"].as_array().unwrap() {
        let id = added["id"].as_u64().unwrap();
        entries.retain(|(other, ..)| *other != id);
        entries.push((id, strings(&added["content"]), TokenType::Control));
    }
    entries.sort_by_key(|(id, ..)| *id);
    let pair = |merge: &serde_json::Value| match merge.as_array() {
        Some(pair) => format!("{} {}", strings(&pair[0]), strings(&pair[1])),
        None => strings(merge),
    };
    TokenizerData {
        tokens: entries.iter().map(|(_, token, _)| token).collect(),
        token_types: entries.iter().map(|(_, _, kind)| *kind).collect(),
        merges: json["model"]["merges"].as_array().unwrap().iter().map(pair).collect(),
        ..byte_data(&[])
    }
}

#[test]
fn agrees_with_the_tokenizer_json_on_the_golden_texts() {
    let texts: serde_json::Value =
        serde_json::from_str(include_str!("../../../../../tests/fixtures/golden/tokenizer_texts.json"))
            .unwrap();
    for source in [
        include_str!("../../../../../assets/contract/tokenizer.json"),
        include_str!("../../../../../tests/fixtures/tiny/tokenizer.json"),
    ] {
        let ours = Tokenizer::new(&keys_of(&serde_json::from_str(source).unwrap())).unwrap();
        let theirs: tokenizers::Tokenizer = source.parse().unwrap();
        for text in texts.as_array().unwrap() {
            let text = text["text"].as_str().unwrap();
            let ids = ours.encode(text);
            let nfc: String = text.nfc().collect();
            assert_eq!(ours.decode(&ids), nfc);
            // Theirs makes control tokens of typed markers, ours must not.
            if !["<|", "<think>", "</think>"].iter().any(|marker| nfc.contains(marker)) {
                assert_eq!(ids, theirs.encode(nfc, false).unwrap().get_ids(), "{text:?}");
            }
        }
    }
}

/// Text made of what grows clusters, so that random cases hit the rules.
fn growing_text() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a", " ", "\r", "\n", "क", "्", "ष", "ि", "़", "\u{200d}", "\u{200c}", "👨", "👩", "🏽", "\u{fe0f}",
        "🇮", "🇳", "e\u{301}", "한", "ᄒ", "ᅡ",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn deltas_concatenate_to_the_decoded_text(ids in prop::collection::vec(0u32..270, 0..60)) {
        let tokenizer = byte_tokenizer();
        let mut stream = StreamDecoder::new(tokenizer);
        let mut text: String = ids.iter().map(|&id| stream.push(id)).collect();
        text.push_str(&stream.finish());
        prop_assert_eq!(text, tokenizer.decode(&ids));
    }

    #[test]
    fn every_delta_ends_at_a_grapheme_boundary(text in growing_text()) {
        let tokenizer = byte_tokenizer();
        let ids = tokenizer.encode(&text);
        let whole = tokenizer.decode(&ids);
        let boundaries: Vec<usize> = whole.grapheme_indices(true).map(|(i, _)| i).chain([whole.len()]).collect();
        let (mut stream, mut at) = (StreamDecoder::new(tokenizer), 0);
        for id in ids {
            at += stream.push(id).len();
            prop_assert!(at == 0 || boundaries.contains(&at), "{:?} cut at {}", whole, at);
        }
    }

    #[test]
    fn decode_inverts_encode(text in "\\PC{0,80}") {
        let tokenizer = byte_tokenizer();
        prop_assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text.nfc().collect::<String>());
    }
}

use unicode_segmentation::UnicodeSegmentation;

#[test]
fn every_supported_pretokenizer_compiles_and_loses_nothing() {
    let text = "Hello WORLD's  123456 नमस्ते दुनिया १२३\n\n  \t don't/stop… 你好 🏽x\r\n ";
    for pre in pre::supported() {
        let tokenizer =
            Tokenizer::new(&TokenizerData { pre: pre.into(), ..byte_data(&[("h", "e")]) }).unwrap();
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)), text, "{pre}");
    }
}

#[test]
fn whole_words_come_first_where_the_pattern_says_so() {
    // "hell" is an entry, but no merge makes it from "hel" and "l".
    let merges = [("h", "e"), ("he", "l"), ("e", "l"), ("el", "l"), ("h", "ell")];
    let count = |pre: &str| {
        let data = TokenizerData { pre: pre.into(), ..byte_data(&merges) };
        Tokenizer::new(&data).unwrap().encode("hell").len()
    };
    assert_eq!((count("dbrx"), count("llama-bpe")), (2, 1));
}

#[test]
fn added_text_is_matched_whole_and_longest_first() {
    let mut data = byte_data(&[]);
    for text in ["<tool>", "<tool>s", "é"] {
        data.tokens.push(text);
        data.token_types.push(TokenType::UserDefined);
    }
    let tokenizer = Tokenizer::new(&data).unwrap();
    let ids = tokenizer.encode("a<tool>s<tool>éb");
    assert_eq!(text_of(&tokenizer, &ids), ["a", "<tool>s", "<tool>", "é", "b"]);
    assert_eq!(tokenizer.decode(&ids), "a<tool>s<tool>éb");
}

#[test]
fn the_end_of_a_turn_is_a_control_token_whatever_the_file_says() {
    let mut data = byte_data(&[]);
    data.token_types[2] = TokenType::UserDefined;
    let tokenizer = Tokenizer::new(&data).unwrap();
    assert!(tokenizer.is_control(2) && !tokenizer.encode("<|im_end|>").contains(&2));
}

#[test]
fn a_foreign_vocabulary_may_lack_bytes_that_text_hardly_has() {
    let mut data = byte_data(&[]);
    data.token_types[5 + 4] = TokenType::Unused;
    assert!(Tokenizer::new(&data).is_err(), "ours is complete");
    let tokenizer = Tokenizer::new(&TokenizerData { pre: "smollm".into(), ..data }).unwrap();
    assert_eq!(tokenizer.decode(&tokenizer.encode("a\u{4}b")), "ab");
}
