//! Tokens of an answer → what the reader sees: thinking apart from text, whole grapheme clusters only.
use crate::template::{THINK_END, THINK_START};
use crate::{GenerateEvent, StreamDecoder, TokenId, Tokenizer};

pub(crate) struct Answer<'a> {
    tokenizer: &'a Tokenizer,
    decoder: StreamDecoder<'a>,
    think_start: Option<TokenId>,
    think_end: Option<TokenId>,
    is_thinking: bool,
    thinking: Trimmed,
    text: Trimmed,
}

impl<'a> Answer<'a> {
    /// `is_thinking`: the prompt has already opened `<think>`.
    pub fn new(tokenizer: &'a Tokenizer, is_thinking: bool) -> Self {
        Self {
            tokenizer,
            decoder: StreamDecoder::new(tokenizer),
            think_start: tokenizer.control(THINK_START),
            think_end: tokenizer.control(THINK_END),
            is_thinking,
            thinking: Trimmed { trims_start: true, trims_end: true, ..Trimmed::default() },
            text: Trimmed { trims_start: is_thinking, ..Trimmed::default() },
        }
    }

    pub fn push(&mut self, id: TokenId, events: &mut dyn FnMut(GenerateEvent<'_>)) {
        if Some(id) == self.think_start || Some(id) == self.think_end {
            self.flush(events);
            self.is_thinking = Some(id) == self.think_start;
            // The blank line between `</think>` and the answer belongs to neither.
            self.text.trims_start |= self.text.shown.is_empty();
            return;
        }
        let delta = self.decoder.push(id);
        self.show(&delta, events);
    }

    /// Ends the answer: `(text, thinking)`.
    pub fn finish(mut self, events: &mut dyn FnMut(GenerateEvent<'_>)) -> (String, String) {
        self.flush(events);
        (self.text.shown, self.thinking.shown)
    }

    fn flush(&mut self, events: &mut dyn FnMut(GenerateEvent<'_>)) {
        let decoder = std::mem::replace(&mut self.decoder, StreamDecoder::new(self.tokenizer));
        self.show(&decoder.finish(), events);
    }

    fn show(&mut self, delta: &str, events: &mut dyn FnMut(GenerateEvent<'_>)) {
        let channel = if self.is_thinking { &mut self.thinking } else { &mut self.text };
        match channel.push(delta) {
            "" => {}
            shown if self.is_thinking => events(GenerateEvent::Thinking(shown)),
            shown => events(GenerateEvent::Text(shown)),
        }
    }
}

/// Whether `prompt` leaves a `<think>` of its last turn open, and where that stands.
pub(crate) fn open_thinking(tokenizer: &Tokenizer, prompt: &[TokenId]) -> Option<usize> {
    let start = tokenizer.control(THINK_START)?;
    let last_control = prompt.iter().rposition(|id| tokenizer.is_control(*id))?;
    (prompt[last_control] == start).then_some(last_control)
}

/// Text as shown so far, with white space at its ends left out where asked.
#[derive(Default)]
struct Trimmed {
    trims_start: bool,
    trims_end: bool,
    /// White space that is shown only if something follows it.
    held: String,
    shown: String,
}

impl Trimmed {
    /// What `delta` makes visible.
    fn push(&mut self, delta: &str) -> &str {
        let from = self.shown.len();
        let delta = if self.trims_start { delta.trim_start() } else { delta };
        if !delta.is_empty() {
            self.trims_start = false;
            self.held.push_str(delta);
            let visible = if self.trims_end { self.held.trim_end().len() } else { self.held.len() };
            self.shown.extend(self.held.drain(..visible));
        }
        &self.shown[from..]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::tests::byte_tokenizer;
    use proptest::prelude::*;

    /// Encodes with the markers as control tokens.
    fn ids(marked: &str) -> Vec<TokenId> {
        let tokenizer = byte_tokenizer();
        let mut out = Vec::new();
        for (i, part) in marked.split('<').enumerate() {
            let (marker, text) = part.split_once('>').filter(|_| i > 0).unwrap_or(("", part));
            out.extend(tokenizer.control(&format!("<{marker}>")));
            out.extend(tokenizer.encode(text));
        }
        out
    }

    /// `(text, thinking)` by the events and by `finish`, which must agree.
    fn read(ids: &[TokenId], is_thinking: bool) -> (String, String) {
        let mut answer = Answer::new(byte_tokenizer(), is_thinking);
        let (mut text, mut thinking) = (String::new(), String::new());
        let mut events = |event: GenerateEvent<'_>| match event {
            GenerateEvent::Text(t) => text.push_str(t),
            GenerateEvent::Thinking(t) => thinking.push_str(t),
            GenerateEvent::Prefill { .. } => {}
        };
        ids.iter().for_each(|id| answer.push(*id, &mut events));
        let finished = answer.finish(&mut events);
        assert_eq!(finished, (text, thinking));
        finished
    }

    #[test]
    fn plain_text_is_left_as_it_is() {
        assert_eq!(read(&ids(" नमस्ते \n"), false), (" नमस्ते \n".into(), String::new()));
    }

    #[test]
    fn thinking_is_split_off_and_both_are_trimmed() {
        let expected = ("answer\n\nmore".into(), "one\n two".into());
        assert_eq!(read(&ids("<think>\none\n two\n</think>\n\nanswer\n\nmore"), false), expected);
        assert_eq!(read(&ids("one\n two\n</think>\n\nanswer\n\nmore"), true), expected);
    }

    #[test]
    fn unfinished_thinking_is_no_text() {
        assert_eq!(read(&ids("<think>\nhmm "), false), (String::new(), "hmm".into()));
    }

    #[test]
    fn typed_markers_are_text() {
        let typed = byte_tokenizer().encode("<think>x</think>");
        assert_eq!(read(&typed, false).0, "<think>x</think>");
    }

    #[test]
    fn a_prompt_that_ends_in_think_is_open() {
        let tokenizer = byte_tokenizer();
        assert_eq!(open_thinking(tokenizer, &ids("a<think>\n")), Some(1));
        assert_eq!(open_thinking(tokenizer, &ids("a<think>\nb</think>c")), None);
        assert_eq!(open_thinking(tokenizer, &ids("abc")), None);
    }

    proptest! {
        #[test]
        fn events_concatenate_to_the_completion(ids in prop::collection::vec(0u32..266, 0..80), open in any::<bool>()) {
            read(&ids, open);
        }
    }
}
