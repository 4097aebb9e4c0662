//! A conversation's title: one line, cut between two characters as a person sees them (grapheme clusters).
use unicode_segmentation::UnicodeSegmentation;

const DERIVED_GRAPHEMES: usize = 60;
const TYPED_GRAPHEMES: usize = 200;
/// A single grapheme can be of any length (a letter with ten thousand marks): the line is bounded in bytes as well.
const MAX_BYTES: usize = 4096;

/// The title of a conversation that begins with `text`.
pub(crate) fn derived(text: &str) -> String {
    one_line(text, DERIVED_GRAPHEMES)
}

/// What a person typed as a title; `None` when nothing is left of it.
pub(crate) fn typed(text: &str) -> Option<String> {
    Some(one_line(text, TYPED_GRAPHEMES)).filter(|title| !title.is_empty())
}

/// White space runs become one space; at most `limit` graphemes, the last of them `…` when something was cut.
fn one_line(text: &str, limit: usize) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if line.len() > 2 * MAX_BYTES {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    cut(&line, limit)
}

fn cut(line: &str, limit: usize) -> String {
    let mut kept_end = 0; // end of the last grapheme that leaves room for the `…`
    for (count, (start, grapheme)) in line.grapheme_indices(true).enumerate() {
        if count == limit || start + grapheme.len() > MAX_BYTES {
            return format!("{}…", line[..kept_end].trim_end());
        }
        if count + 1 < limit {
            kept_end = start + grapheme.len();
        }
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_text_is_its_own_title() {
        assert_eq!(derived("नमस्ते, तुम कौन हो?"), "नमस्ते, तुम कौन हो?");
    }

    #[test]
    fn lines_and_runs_of_space_become_one_space() {
        assert_eq!(derived("  one\n\n two\t three "), "one two three");
    }

    #[test]
    fn a_long_text_is_cut_between_graphemes() {
        let title = derived(&"क्षि".repeat(100));
        assert_eq!(title.graphemes(true).count(), 60);
        assert!(title.ends_with("क्षि…"), "{title}");
    }

    #[test]
    fn exactly_sixty_graphemes_stay_whole() {
        assert_eq!(derived(&"é".repeat(60)), "é".repeat(60));
    }

    #[test]
    fn one_endless_grapheme_gives_a_bounded_title() {
        let title = derived(&format!("a{}", "\u{0301}".repeat(50_000)));
        assert!(title.len() <= MAX_BYTES + 3, "{}", title.len());
    }

    #[test]
    fn a_typed_title_of_white_space_is_none() {
        assert_eq!(typed(" \n "), None);
        assert_eq!(typed(" मेरी  बात "), Some("मेरी बात".into()));
    }
}
