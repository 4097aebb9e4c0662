//! Members of a batch get what they would have got alone, whoever else is there.
use super::*;
use crate::testing::{Random, Tiny, TinyFile, tokens};
use crate::{Backend, Sampling};
use chimera_gguf::GgmlType;
use std::sync::{Arc, LazyLock};

static FILE: LazyLock<TinyFile> =
    LazyLock::new(|| Tiny { matrices: GgmlType::Q4_0, embedding: GgmlType::Q6K, ..Tiny::default() }.write());
static FAST: LazyLock<Arc<Model>> = LazyLock::new(|| FILE.fast());

fn session() -> Session {
    Session::new(Arc::clone(&FAST))
}

/// Sequences of these lengths, all different.
fn sequences(lengths: &[usize]) -> Vec<Vec<TokenId>> {
    lengths.iter().zip(1..).map(|(n, seed)| Random(seed).tokens(*n)).collect()
}

fn alone(model: &Arc<Model>, tokens: &[TokenId]) -> Vec<f32> {
    let mut session = Session::new(Arc::clone(model));
    session.prefill(tokens, &CancelFlag::default(), &mut |_, _| {}).unwrap().to_vec()
}

/// Each session reads the part `from..to` (cut to its length) of its sequence.
fn read_part(
    model: &Model,
    sessions: &mut [Session],
    all: &[Vec<TokenId>],
    part: Range<usize>,
) -> Vec<Result<(), EngineError>> {
    let feeds = sessions.iter_mut().zip(all);
    let mut feeds: Vec<_> = feeds
        .filter(|(_, tokens)| part.start < tokens.len())
        .map(|(session, tokens)| Feed {
            session,
            tokens: &tokens[part.start..part.end.min(tokens.len())],
            logits: true,
        })
        .collect();
    model.read_together(&mut feeds)
}

#[test]
fn reading_together_changes_no_bit() {
    // Longer than a pass, as long as a pass together, one token, and what is left over by blocks.
    let all = sequences(&[300, 1, 129, 16, 7, 2, 63, 255]);
    for model in [&FAST, &FILE.reference()] {
        let mut sessions: Vec<Session> = all.iter().map(|_| Session::new(Arc::clone(model))).collect();
        for part in [0..1, 1..16, 16..299, 299..300] {
            assert!(read_part(model, &mut sessions, &all, part).iter().all(Result::is_ok));
        }
        for (session, tokens) in sessions.iter().zip(&all) {
            assert_eq!(session.tokens(), tokens);
            let expected = alone(model, tokens);
            if model.backend() == Backend::Fast {
                assert!(session.logits() == expected, "{} tokens", tokens.len());
            }
            assert!(crate::testing::relative_error(session.logits(), &expected) < 1e-4);
        }
    }
}

#[test]
fn logits_are_computed_only_where_they_are_wanted() {
    let (mut with, mut without) = (session(), session());
    let tokens = tokens(3);
    let mut feeds = [
        Feed { session: &mut with, tokens: &tokens, logits: true },
        Feed { session: &mut without, tokens: &tokens, logits: false },
    ];
    assert!(FAST.read_together(&mut feeds).iter().all(Result::is_ok));
    assert!(with.logits() == alone(&FAST, &tokens));
    assert!(without.logits().is_empty());
    without.refresh_logits().unwrap();
    assert!(without.logits() == with.logits());
}

#[test]
fn a_refused_feed_keeps_its_session_and_leaves_the_others_intact() {
    let limit = FAST.info().context_length;
    let other_model = FILE.fast();
    let mut foreign = Session::new(other_model);
    let (mut good, mut empty, mut outside, mut full) = (session(), session(), session(), session());
    outside.prefill(&tokens(4), &CancelFlag::default(), &mut |_, _| {}).unwrap();
    let (one, long) = (tokens(40), tokens(limit + 1));
    let mut feeds = [
        Feed { session: &mut foreign, tokens: &one, logits: true },
        Feed { session: &mut empty, tokens: &[], logits: true },
        Feed { session: &mut good, tokens: &one, logits: true },
        Feed { session: &mut outside, tokens: &[1, 999_999], logits: true },
        Feed { session: &mut full, tokens: &long, logits: true },
    ];
    let results = FAST.read_together(&mut feeds);
    assert!(matches!(results[0], Err(EngineError::SessionForeign)));
    assert!(matches!(results[1], Err(EngineError::EmptyPrompt)));
    assert!(results[2].is_ok());
    assert!(matches!(results[3], Err(EngineError::TokenOutOfRange { token: 999_999, .. })));
    assert!(matches!(results[4], Err(EngineError::ContextFull { .. })));
    assert!(good.logits() == alone(&FAST, &one));
    assert_eq!((outside.tokens(), full.tokens()), (&tokens(4)[..], &[][..]));
    let next = tokens(6)[4..].to_vec();
    assert!(
        outside.prefill(&next, &CancelFlag::default(), &mut |_, _| {}).unwrap() == alone(&FAST, &tokens(6))
    );
}

#[test]
fn the_pieces_of_a_pass_are_at_most_its_rows() {
    let all = sequences(&[300, 1, 129]);
    let mut sessions: Vec<Session> = all.iter().map(|_| session()).collect();
    let feeds: Vec<_> = (sessions.iter_mut().zip(&all))
        .map(|(session, tokens)| Feed { session, tokens, logits: false })
        .collect();
    let ok: Vec<Result<(), EngineError>> = vec![Ok(()), Ok(()), Ok(())];
    assert_eq!(plan_pass(&feeds, &[0, 0, 0], &ok), [(0, 0..256)]);
    assert_eq!(plan_pass(&feeds, &[256, 0, 0], &ok), [(0, 256..300), (1, 0..1), (2, 0..129)]);
    assert_eq!(plan_pass(&feeds, &[300, 1, 129], &ok), []);
}

// --- batches of answers ---

fn options(max_tokens: usize, seed: u64) -> GenerateOptions {
    GenerateOptions {
        sampling: Sampling { seed, ..Sampling::default() },
        max_tokens,
        ..GenerateOptions::default()
    }
}

fn answer_alone(prompt: &[TokenId], options: &GenerateOptions) -> Completion {
    session().generate(prompt, options, &CancelFlag::default(), &mut |_| {}).unwrap()
}

fn join(batch: &mut Batch<'_>, prompt: &[TokenId], options: &GenerateOptions) -> (Ticket, CancelFlag) {
    let cancel = CancelFlag::default();
    let Ok(ticket) = batch.join(session(), prompt, options, cancel.clone()) else { panic!("refused") };
    (ticket, cancel)
}

/// What `ended` says, by ticket, once the batch is empty.
fn finish(batch: &mut Batch<'_>, ended: &mut Vec<Ended>) {
    for _ in 0..10_000 {
        if batch.is_empty() {
            return;
        }
        ended.extend(batch.step(&mut |_, _| {}));
    }
    panic!("the batch never ends");
}

fn completion(ended: &[Ended], ticket: Ticket) -> &Completion {
    ended.iter().find(|e| e.ticket == ticket).unwrap().result.as_ref().unwrap()
}

fn same(a: &Completion, b: &Completion) -> bool {
    (&a.text, &a.thinking, a.finish, a.prompt_tokens, a.completion_tokens)
        == (&b.text, &b.thinking, b.finish, b.prompt_tokens, b.completion_tokens)
}

#[test]
fn answers_that_join_at_any_step_are_those_of_generate() {
    let prompts = sequences(&[5, 290, 40, 1]);
    let mut batch = Batch::new(&FAST);
    let (mut ended, mut tickets) = (Vec::new(), Vec::new());
    for (prompt, i) in prompts.iter().zip(0..) {
        tickets.push(join(&mut batch, prompt, &options(20 + i, i as u64)).0);
        for _ in 0..3 {
            ended.extend(batch.step(&mut |_, _| {}));
        }
    }
    finish(&mut batch, &mut ended);
    for ((prompt, ticket), i) in prompts.iter().zip(tickets).zip(0..) {
        let expected = answer_alone(prompt, &options(20 + i, i as u64));
        assert!(same(completion(&ended, ticket), &expected), "{:?}", completion(&ended, ticket));
    }
}

#[test]
fn events_name_their_member_and_make_its_text() {
    let prompts = sequences(&[200, 30]);
    let mut batch = Batch::new(&FAST);
    let tickets = [0, 1].map(|i| join(&mut batch, &prompts[i], &options(15, i as u64)).0);
    let mut shown = [String::new(), String::new()];
    let mut read = [Vec::new(), Vec::new()];
    let mut ended = Vec::new();
    while !batch.is_empty() {
        let more = batch.step(&mut |ticket, event| {
            let at = tickets.iter().position(|t| *t == ticket).unwrap();
            match event {
                GenerateEvent::Text(text) => shown[at].push_str(text),
                GenerateEvent::Prefill { done, .. } => read[at].push(done),
                GenerateEvent::Thinking(_) => {}
            }
        });
        ended.extend(more);
    }
    assert_eq!(shown, tickets.map(|t| completion(&ended, t).text.clone()));
    // The second prompt starts only with the rows that the first leaves.
    assert_eq!(read, [vec![128, 200], vec![30]]);
}

#[test]
fn leaving_cancelling_and_failing_change_nothing_for_the_others() {
    let prompts = sequences(&[20, 21, 22, 500]);
    let mut batch = Batch::new(&FAST);
    let (stays, _) = join(&mut batch, &prompts[0], &options(30, 1));
    let (leaves, _) = join(&mut batch, &prompts[1], &options(30, 2));
    let (cancelled, flag) = join(&mut batch, &prompts[2], &options(30, 3));
    let (runs_full, _) = join(&mut batch, &prompts[3], &options(100, 4));
    let mut ended = Vec::new();
    for _ in 0..8 {
        ended.extend(batch.step(&mut |_, _| {}));
    }
    let mut left = batch.leave(leaves).unwrap();
    assert!(batch.leave(leaves).is_none());
    flag.cancel();
    finish(&mut batch, &mut ended);
    assert!(same(completion(&ended, stays), &answer_alone(&prompts[0], &options(30, 1))));
    assert!(same(completion(&ended, runs_full), &answer_alone(&prompts[3], &options(100, 4))));
    assert_eq!(completion(&ended, cancelled).finish, FinishReason::Cancelled);
    assert!(ended.iter().all(|e| e.ticket != leaves));
    // What has left goes on alone.
    let read = left.tokens().to_vec();
    assert!(read.len() > prompts[1].len() && read.starts_with(&prompts[1]));
    assert!(left.step(9).unwrap() == alone(&FAST, &[&read[..], &[9]].concat()));
}

#[test]
fn a_member_cancelled_before_it_is_read_ends_empty() {
    let mut batch = Batch::new(&FAST);
    let (ticket, cancel) = join(&mut batch, &tokens(9), &options(5, 1));
    cancel.cancel();
    let ended = batch.step(&mut |_, _| {});
    assert_eq!((ended.len(), batch.len()), (1, 0));
    let completion = completion(&ended, ticket);
    assert_eq!((completion.finish, completion.completion_tokens), (FinishReason::Cancelled, 0));
}

#[test]
fn whoever_cannot_join_gets_the_session_back() {
    let mut batch = Batch::new(&FAST);
    let long = tokens(FAST.info().context_length);
    let refused = batch.join(session(), &long, &options(5, 1), CancelFlag::default()).err().unwrap();
    assert!(matches!(refused.error, EngineError::ContextFull { .. }));
    assert!(refused.session.tokens().is_empty());
    let foreign = Session::new(FILE.fast());
    let refused = batch.join(foreign, &tokens(5), &options(5, 1), CancelFlag::default()).err().unwrap();
    assert!(matches!(refused.error, EngineError::SessionForeign));
    assert!(batch.is_empty() && batch.step(&mut |_, _| {}).is_empty());
}

#[test]
fn a_session_brings_its_snapshots() {
    let prompt = tokens(60);
    let mut known = session();
    known.generate(&prompt, &options(4, 1), &CancelFlag::default(), &mut |_| {}).unwrap();
    let mut batch = Batch::new(&FAST);
    let Ok(ticket) = batch.join(known, &prompt, &options(4, 1), CancelFlag::default()) else {
        panic!("refused")
    };
    let mut ended = Vec::new();
    finish(&mut batch, &mut ended);
    assert_eq!(completion(&ended, ticket).reused_tokens, 60);
    assert!(same(completion(&ended, ticket), &answer_alone(&prompt, &options(4, 1))));
}
