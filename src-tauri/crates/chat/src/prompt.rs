//! From the shown branch to a prompt that fits the context window.
use crate::engine::PromptTokens;
use chimera_engine::{ChatMessage, EngineError, Role, Think, TokenId};
use chimera_history as history;

/// A question with its answer, both as the model sees them (thinking is not fed back).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub question: String,
    pub answer: String,
}

/// What a turn asks: the exchanges before it and the new question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    pub before: Vec<Exchange>,
    pub question: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prompt {
    pub tokens: Vec<TokenId>,
    pub dropped_turns: usize,
}

#[derive(Debug)]
pub(crate) enum PromptError {
    /// The question alone takes more than `limit` tokens.
    TooLong {
        tokens: usize,
        limit: usize,
    },
    Engine(EngineError),
}

impl From<EngineError> for PromptError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl Ask {
    /// `shown` ends with the question and the empty answer that is to be written. An exchange that was stopped or
    /// failed before its first word is left out: the model has never seen a question without an answer.
    pub fn from_branch(shown: &[history::Message]) -> Self {
        let texts: Vec<&str> = shown.iter().map(|message| message.text.as_str()).collect();
        let mut pairs = texts.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
        let question = pairs.next_back().map(|(question, _)| question).unwrap_or_default();
        let before = pairs.filter(|(_, answer)| !answer.is_empty());
        Self { before: before.map(|(question, answer)| Exchange { question, answer }).collect(), question }
    }
}

/// Tokens that a prompt may have: the context without the room for an answer (at most half of it).
pub(crate) fn prompt_limit(context_length: usize, max_tokens: usize) -> usize {
    context_length - max_tokens.min(context_length / 2)
}

/// Fails when the question would not fit even alone.
pub(crate) fn check_alone(
    tokens: &dyn PromptTokens,
    question: &str,
    think: Think,
    limit: usize,
) -> Result<(), PromptError> {
    let alone = tokens.render(&[message(Role::User, question)], think)?.len();
    if alone > limit { Err(PromptError::TooLong { tokens: alone, limit }) } else { Ok(()) }
}

/// Drops the oldest whole exchanges until the rest fits.
pub(crate) fn fit(
    tokens: &dyn PromptTokens,
    ask: &Ask,
    think: Think,
    limit: usize,
) -> Result<Prompt, PromptError> {
    let from = |first: usize| {
        let kept = ask.before.iter().skip(first).flat_map(exchange);
        tokens.render(&kept.chain([message(Role::User, &ask.question)]).collect::<Vec<_>>(), think)
    };
    // No turn dropped any if all of them fit now: one encoding of the conversation instead of three.
    let all = from(0)?;
    if all.len() <= limit {
        return Ok(Prompt { tokens: all, dropped_turns: 0 });
    }
    check_alone(tokens, &ask.question, think, limit)?;
    let dropped_turns = dropped(tokens, ask, think, limit)?;
    Ok(Prompt { tokens: from(dropped_turns)?, dropped_turns })
}

/// The conversation with its answer, as the next prompt will begin if it drops no more turns.
pub(crate) fn answered(
    tokens: &dyn PromptTokens,
    ask: &Ask,
    answer: &str,
    dropped_turns: usize,
    think: Think,
) -> Result<Vec<TokenId>, EngineError> {
    let last = [message(Role::User, &ask.question), message(Role::Assistant, answer)];
    let kept = ask.before.iter().skip(dropped_turns).flat_map(exchange);
    tokens.render(&kept.chain(last).collect::<Vec<_>>(), think)
}

fn message(role: Role, content: &str) -> ChatMessage {
    ChatMessage { role, content: content.to_owned() }
}

fn exchange(exchange: &Exchange) -> [ChatMessage; 2] {
    [message(Role::User, &exchange.question), message(Role::Assistant, &exchange.answer)]
}

/// How many exchanges go. Replays the conversation turn by turn: when a prompt was too long, everything beyond half of
/// the limit went at once, so the turns that follow find their prefix already read. (Dropping just enough would move the
/// prompt's beginning at every turn, and the whole prompt would be read again each time. Dropping a quarter would read
/// three quarters again for every quarter that is new, three times as much; half is read again for every half.)
fn dropped(tokens: &dyn PromptTokens, ask: &Ask, think: Think, limit: usize) -> Result<usize, EngineError> {
    let header = tokens.render(&[], think)?.len(); // "<|im_start|>assistant\n"
    let cost = |messages: &[ChatMessage]| Ok(tokens.render(messages, think)?.len() - header);
    let questions = ask.before.iter().map(|exchange| &exchange.question).chain([&ask.question]);
    let questions =
        questions.map(|text| cost(&[message(Role::User, text)])).collect::<Result<Vec<_>, EngineError>>()?;
    let wholes =
        ask.before.iter().map(|pair| cost(&exchange(pair))).collect::<Result<Vec<_>, EngineError>>()?;
    Ok(replay(&questions, &wholes, header, limit))
}

/// `questions[t]` and `wholes[t]`: tokens of the question, and of question and answer, of turn `t`.
fn replay(questions: &[usize], wholes: &[usize], header: usize, limit: usize) -> usize {
    let (mut first, mut before) = (0, 0); // the first kept turn; tokens of the kept turns before turn `t`
    for (t, question) in questions.iter().enumerate() {
        if header + before + question > limit {
            while first < t && header + before + question > limit / 2 {
                before -= wholes[first];
                first += 1;
            }
        }
        before += wholes.get(t).unwrap_or(&0);
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One token a character, two for each message, three for the header.
    struct Characters;
    impl PromptTokens for Characters {
        fn render(&self, messages: &[ChatMessage], _: Think) -> Result<Vec<TokenId>, EngineError> {
            let characters = messages.iter().flat_map(|m| m.content.chars().map(u32::from).chain([1, 2]));
            Ok(characters.chain([3, 3, 3]).collect())
        }
    }

    fn ask(before: &[(&str, &str)], question: &str) -> Ask {
        let exchange = |(q, a): &(&str, &str)| Exchange { question: (*q).into(), answer: (*a).into() };
        Ask { before: before.iter().map(exchange).collect(), question: question.into() }
    }

    #[test]
    fn everything_stays_when_it_fits() {
        let prompt = fit(&Characters, &ask(&[("ab", "cd")], "e"), Think::Off, 14).unwrap();
        assert_eq!((prompt.tokens.len(), prompt.dropped_turns), (14, 0));
    }

    #[test]
    fn the_oldest_turns_go_first_and_whole() {
        let long = ask(&[("0123456789", "0123456789"), ("ab", "cd")], "e");
        let prompt = fit(&Characters, &long, Think::Off, 37).unwrap();
        assert_eq!((prompt.tokens.len(), prompt.dropped_turns), (14, 1));
    }

    #[test]
    fn a_question_that_does_not_fit_alone_is_told_with_its_tokens() {
        let error = fit(&Characters, &ask(&[], "0123456789"), Think::Off, 14).unwrap_err();
        assert!(matches!(error, PromptError::TooLong { tokens: 15, limit: 14 }));
    }

    #[test]
    fn the_room_for_the_answer_is_at_most_half_of_the_context() {
        assert_eq!(prompt_limit(4096, 512), 3584);
        assert_eq!(prompt_limit(100, 512), 50);
    }

    #[test]
    fn most_turns_begin_where_the_turn_before_began() {
        let (questions, wholes) = (vec![10; 101], vec![100; 100]);
        let starts: Vec<usize> = (1..=100).map(|n| replay(&questions[..=n], &wholes[..n], 3, 1000)).collect();
        let moves = starts.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(starts[99] >= 90 && moves <= 20, "{moves} moves, last {}", starts[99]);
    }

    #[test]
    fn an_exchange_without_an_answer_is_left_out() {
        let message = |text: &str| history::Message {
            id: uuid::Uuid::nil(),
            role: history::Role::User,
            text: text.into(),
            thinking: String::new(),
            status: history::Status::Stopped,
            created_at: 0,
            stats: None,
            versions: Vec::new(),
        };
        let shown = ["typo", "", "one", "two", "three", ""].map(message);
        assert_eq!(Ask::from_branch(&shown), ask(&[("one", "two")], "three"));
    }

    proptest! {
        #[test]
        fn a_prompt_always_fits_or_the_question_alone_does_not(
            before in prop::collection::vec(("[a-z]{0,30}", "[a-z]{1,30}"), 0..12),
            question in "[a-z]{1,60}",
            limit in 10usize..200,
        ) {
            let before: Vec<(&str, &str)> = before.iter().map(|(q, a)| (q.as_str(), a.as_str())).collect();
            match fit(&Characters, &ask(&before, &question), Think::Auto, limit) {
                Ok(prompt) => prop_assert!(prompt.tokens.len() <= limit && prompt.dropped_turns <= before.len()),
                Err(PromptError::TooLong { tokens, .. }) => prop_assert_eq!(tokens, question.len() + 5),
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
