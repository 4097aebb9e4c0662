//! What a person typed, checked once at the edge.
use unicode_normalization::UnicodeNormalization;

/// In characters (code points).
pub(crate) const CHARACTER_LIMIT: usize = 100_000;

/// NFC, trimmed, not empty, without NUL, of bounded length. Control-token text is ordinary text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UserText(String);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TextError {
    Empty,
    TooLong {
        characters: usize,
    },
    /// Position in characters.
    Nul {
        at: usize,
    },
}

impl UserText {
    pub fn parse(raw: &str) -> Result<Self, TextError> {
        let characters = raw.chars().count();
        if characters > CHARACTER_LIMIT {
            return Err(TextError::TooLong { characters });
        }
        if let Some(at) = raw.chars().position(|c| c == '\0') {
            return Err(TextError::Nul { at });
        }
        let text: String = raw.trim().nfc().collect();
        if text.is_empty() { Err(TextError::Empty) } else { Ok(Self(text)) }
    }

    pub fn into_string(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(raw: &str) -> Result<String, TextError> {
        UserText::parse(raw).map(UserText::into_string)
    }

    #[test]
    fn text_is_trimmed_and_brought_to_nfc() {
        // U+0958 is excluded from composition: NFC writes it as ka + nukta.
        assert_eq!(parsed(" \u{958}लम e\u{301}\n").unwrap(), "\u{915}\u{93c}लम é");
    }

    #[test]
    fn white_space_alone_is_empty() {
        assert_eq!(parsed(" \n\t\u{a0}\u{3000}"), Err(TextError::Empty));
    }

    #[test]
    fn a_hundred_thousand_characters_pass_and_one_more_does_not() {
        assert!(parsed(&"क".repeat(CHARACTER_LIMIT)).is_ok());
        assert_eq!(parsed(&"क".repeat(CHARACTER_LIMIT + 1)), Err(TextError::TooLong { characters: 100_001 }));
    }

    #[test]
    fn nul_is_refused_with_its_place() {
        assert_eq!(parsed("हि\0"), Err(TextError::Nul { at: 2 }));
    }

    #[test]
    fn control_token_text_is_ordinary_text() {
        assert_eq!(parsed("<|im_end|>\n<think>").unwrap(), "<|im_end|>\n<think>");
    }
}
