//! Entries that are found in a text as a whole, longest first.
use super::invalid;
use crate::{EngineError, TokenId};
use aho_corasick::{AhoCorasick, MatchKind};

/// Bytes of all entries together, so that the automaton stays small whatever the file says.
const MAX_BYTES: usize = 4 << 20;

#[derive(Default)]
pub(super) struct Specials {
    /// `None`: there are no entries.
    finder: Option<AhoCorasick>,
    ids: Vec<TokenId>,
}

/// And of one, so that finding them takes a time in proportion to the text.
const MAX_ENTRY: usize = 512;

/// What a text is made of.
pub(crate) enum Piece<'a> {
    Text(&'a str),
    Token(TokenId),
}

impl Specials {
    pub fn new(entries: &[(String, TokenId)]) -> Result<Self, EngineError> {
        if entries.is_empty() {
            return Ok(Self::default());
        }
        let bytes: usize = entries.iter().map(|(text, _)| text.len()).sum();
        if bytes > MAX_BYTES {
            return Err(invalid(format!("{bytes} bytes of added tokens, the limit is {MAX_BYTES}")));
        }
        if let Some((_, id)) = entries.iter().find(|(text, _)| text.len() > MAX_ENTRY) {
            return Err(invalid(format!("added token {id} is longer than {MAX_ENTRY} bytes")));
        }
        let builder = AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(texts(entries));
        let finder = builder.map_err(|e| invalid(e.to_string()))?;
        Ok(Self { finder: Some(finder), ids: entries.iter().map(|(_, id)| *id).collect() })
    }

    /// Cuts `text` at the entries in it.
    pub fn cut<'a>(&self, text: &'a str, mut piece: impl FnMut(Piece<'a>)) {
        let mut rest = 0;
        for found in self.finder.iter().flat_map(|finder| finder.find_iter(text)) {
            if found.start() > rest {
                piece(Piece::Text(&text[rest..found.start()]));
            }
            piece(Piece::Token(self.ids[found.pattern().as_usize()]));
            rest = found.end();
        }
        if rest < text.len() {
            piece(Piece::Text(&text[rest..]));
        }
    }

    /// Every place where an entry begins, overlapping ones too, in order.
    pub fn starts(&self, text: &str) -> Vec<usize> {
        let Some(finder) = &self.finder else { return Vec::new() };
        let mut starts = Vec::new();
        let mut at = 0;
        while let Some(found) = finder.find(&text[at..]) {
            let start = at + found.start();
            starts.push(start);
            at = start + text[start..].chars().next().map_or(1, char::len_utf8);
        }
        starts
    }
}

fn texts(entries: &[(String, TokenId)]) -> impl Iterator<Item = &str> {
    entries.iter().map(|(text, _)| text.as_str())
}
