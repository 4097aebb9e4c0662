//! What a session promises: reuse of prefixes, the course of a generation; in `snapshots` what it may resume from.
mod snapshots;

use crate::testing::{Random, Tiny, TinyFile, logits, tokens};
use crate::*;
use chimera_gguf::GgmlType;
use std::sync::{Arc, LazyLock};

struct Shared {
    file: TinyFile,
    fast: Arc<Model>,
    reference: Arc<Model>,
}

/// One quantized model for all tests of this page.
static SHARED: LazyLock<Shared> = LazyLock::new(|| {
    let file = Tiny { matrices: GgmlType::Q4_0, embedding: GgmlType::Q6K, ..Tiny::default() }.write();
    Shared { fast: file.fast(), reference: file.reference(), file }
});

fn session() -> Session {
    Session::new(Arc::clone(&SHARED.fast))
}

fn read(session: &mut Session, tokens: &[TokenId]) -> Vec<f32> {
    session.prefill(tokens, &CancelFlag::default(), &mut |_, _| {}).unwrap().to_vec()
}

/// All that `generate` reports, and what it returns.
fn generate(
    session: &mut Session,
    prompt: &[TokenId],
    options: &GenerateOptions,
) -> (Completion, Vec<String>) {
    let mut seen = Vec::new();
    let mut events = |event: GenerateEvent<'_>| seen.push(format!("{event:?}"));
    let completion = session.generate(prompt, options, &CancelFlag::default(), &mut events).unwrap();
    (completion, seen)
}

fn options(max_tokens: usize, seed: u64) -> GenerateOptions {
    GenerateOptions {
        sampling: Sampling { seed, ..Sampling::default() },
        max_tokens,
        ..GenerateOptions::default()
    }
}

// --- reading ---

#[test]
fn a_cancelled_prefill_keeps_whole_chunks_only() {
    let cancel = CancelFlag::default();
    let mut session = session();
    let mut seen = Vec::new();
    let result = session.prefill(&tokens(400), &cancel, &mut |done, total| {
        seen.push((done, total));
        if done > 200 {
            cancel.cancel();
        }
    });
    assert!(matches!(result, Err(EngineError::Cancelled)));
    assert_eq!(seen, [(128, 400), (256, 400)]);
    assert_eq!(session.tokens(), &tokens(400)[..256]);
    // What was read is whole: going on gives what a straight reading gives.
    assert!(read(&mut session, &tokens(400)[256..]) == read(&mut self::session(), &tokens(400)));
}

#[test]
fn refuses_what_cannot_be_read() {
    let mut session = session();
    let cancel = CancelFlag::default();
    let mut prefill = |tokens: &[TokenId]| session.prefill(tokens, &cancel, &mut |_, _| {}).map(|_| ()).err();
    assert!(matches!(prefill(&[]), Some(EngineError::EmptyPrompt)));
    assert!(matches!(prefill(&[5, 288]), Some(EngineError::TokenOutOfRange { token: 288, vocab_size: 288 })));
    assert!(matches!(prefill(&tokens(513)), Some(EngineError::ContextFull { needed: 513, limit: 512 })));
    assert!(prefill(&tokens(512)).is_none(), "the whole context can be used");
    assert!(matches!(session.step(5), Err(EngineError::ContextFull { needed: 513, limit: 512 })));
}

// --- generation ---

#[test]
fn same_seed_same_text_and_another_seed_another() {
    let run = |seed| generate(&mut session(), &tokens(30), &options(40, seed)).0.text;
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

#[test]
fn temperature_zero_follows_the_greatest_logits() {
    let mut greedy = options(12, 1);
    greedy.sampling = Sampling { temperature: 0.0, repetition_penalty: 1.0, ..greedy.sampling };
    let mut session = session();
    let (completion, _) = generate(&mut session, &tokens(30), &greedy);
    let answer = &session.tokens()[30..];
    let rows = logits(&SHARED.fast, session.tokens());
    let best = |row: &[f32]| (0..row.len()).max_by(|i, j| row[*i].total_cmp(&row[*j])).unwrap() as TokenId;
    for (i, token) in answer.iter().enumerate() {
        assert_eq!(*token, best(&rows[(29 + i) * 288..(30 + i) * 288]), "{i}");
    }
    assert!(!answer.is_empty() && completion.prompt_tokens == 30);
}

#[test]
fn events_tell_the_course() {
    let (completion, events) = generate(&mut session(), &tokens(300), &options(20, 5));
    let prefill: Vec<&String> = events.iter().filter(|e| e.starts_with("Prefill")).collect();
    assert_eq!(prefill.len(), 3);
    assert_eq!(*prefill[2], format!("{:?}", GenerateEvent::Prefill { done: 300, total: 300 }));
    assert_eq!((completion.prompt_tokens, completion.reused_tokens), (300, 0));
    assert!(events.iter().any(|e| e.starts_with("Text")) || completion.text.is_empty());
}

#[test]
fn the_next_turn_reads_only_what_is_new() {
    let mut session = session();
    generate(&mut session, &tokens(60), &options(10, 1));
    let mut next = session.tokens().to_vec();
    let known = next.len();
    next.extend(Random(9).tokens(15));
    let (second, _) = generate(&mut session, &next, &options(10, 2));
    assert_eq!(second.reused_tokens, known);
    let (fresh, _) = generate(&mut self::session(), &next, &options(10, 2));
    assert_eq!((fresh.reused_tokens, fresh.text), (0, second.text));
}

#[test]
fn regenerating_rereads_nothing_and_editing_rereads_the_last_turn() {
    let mut session = session();
    let first_turn = tokens(60);
    let (one, _) = generate(&mut session, &first_turn, &options(10, 1));
    let after_answer = session.tokens().to_vec();
    let mut second_turn = after_answer.clone();
    second_turn.extend(Random(9).tokens(30));
    generate(&mut session, &second_turn, &options(10, 1));

    let (again, _) = generate(&mut session, &second_turn, &options(10, 7));
    assert_eq!(again.reused_tokens, second_turn.len());
    let (fresh, _) = generate(&mut self::session(), &second_turn, &options(10, 7));
    assert_eq!(fresh.text, again.text);

    let mut edited = after_answer.clone();
    edited.extend(Random(10).tokens(30));
    assert_eq!(generate(&mut session, &edited, &options(5, 1)).0.reused_tokens, after_answer.len());
    let (back, _) = generate(&mut session, &first_turn, &options(10, 1));
    assert_eq!((back.reused_tokens, back.text), (60, one.text));
}

#[test]
fn thinking_prompts_are_resumable_without_their_marker() {
    let tokenizer = SHARED.fast.tokenizer();
    let messages = [ChatMessage { role: Role::User, content: "hello".into() }];
    let plain = template::render(tokenizer, &messages, Think::Auto).unwrap();
    let thinking = template::render(tokenizer, &messages, Think::On).unwrap();
    assert_eq!((&thinking[..plain.len()], thinking.len()), (&plain[..], plain.len() + 2));
    let mut session = session();
    let (completion, _) = generate(&mut session, &thinking, &options(5, 1));
    assert_eq!(completion.text, "", "all of it is thinking");
    assert_eq!(generate(&mut session, &plain, &options(1, 1)).0.reused_tokens, plain.len());
}

#[test]
fn limits_end_an_answer() {
    let long = |max| generate(&mut session(), &tokens(20), &options(max, 1)).0;
    assert_eq!((long(0).finish, long(0).completion_tokens), (FinishReason::Length, 0));
    assert!(long(3).completion_tokens <= 3);
    let mut session = session();
    let mut hot = options(100, 1);
    hot.sampling = Sampling { temperature: 3.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..hot.sampling };
    let (completion, _) = generate(&mut session, &tokens(505), &hot);
    assert!(completion.completion_tokens <= 8 && session.tokens().len() <= 512);
    let full = session.generate(&tokens(512), &hot, &CancelFlag::default(), &mut |_| {});
    assert!(matches!(full, Err(EngineError::ContextFull { needed: 513, limit: 512 })));
}

#[test]
fn cancelling_ends_within_a_token_and_within_a_chunk() {
    let cancel = CancelFlag::default();
    let mut texts = 0;
    let mut on_text = |event: GenerateEvent<'_>| {
        if matches!(event, GenerateEvent::Text(_)) {
            texts += 1;
            cancel.cancel();
        }
    };
    let completion = session().generate(&tokens(20), &options(200, 1), &cancel, &mut on_text).unwrap();
    assert_eq!(
        (completion.finish, texts <= 2),
        (FinishReason::Cancelled, true),
        "the held-back cluster may follow"
    );
    assert!(!completion.text.is_empty());

    let cancel = CancelFlag::default();
    let mut session = session();
    let mut on_prefill = |event: GenerateEvent<'_>| {
        if matches!(event, GenerateEvent::Prefill { .. }) {
            cancel.cancel();
        }
    };
    let completion = session.generate(&tokens(400), &options(9, 1), &cancel, &mut on_prefill).unwrap();
    assert_eq!((completion.finish, completion.completion_tokens), (FinishReason::Cancelled, 0));
    assert_eq!(session.tokens().len(), 128);
}

#[test]
fn stop_tokens_end_an_answer_and_are_no_text() {
    // Sampled hot over a small vocabulary, some seed ends its turn.
    let mut hot = options(400, 0);
    hot.sampling = Sampling { temperature: 3.0, top_k: 0, top_p: 1.0, min_p: 0.0, ..hot.sampling };
    let stopped = (1..40).find_map(|seed| {
        hot.sampling.seed = seed;
        let mut session = session();
        let (completion, _) = generate(&mut session, &tokens(20), &hot);
        (completion.finish == FinishReason::Stop).then(|| (completion, session.tokens()[20..].to_vec()))
    });
    let (completion, answer) = stopped.expect("40 seeds of 400 tokens hit one of three stop tokens");
    assert_eq!(completion.completion_tokens, answer.len());
    assert!(answer.iter().all(|id| !SHARED.fast.is_stop(*id)));
}

#[test]
fn bad_sampling_is_refused_before_anything_is_read() {
    let mut session = session();
    let bad = GenerateOptions { sampling: Sampling { top_p: 2.0, ..Sampling::default() }, ..options(1, 1) };
    let result = session.generate(&tokens(20), &bad, &CancelFlag::default(), &mut |_| {});
    assert!(matches!(result, Err(EngineError::InvalidSampling { name: "top_p", .. })));
    assert!(session.tokens().is_empty());
}

// --- template ---

#[test]
fn prompts_are_chatml_with_control_ids() {
    let tokenizer = SHARED.fast.tokenizer();
    let messages = [
        ChatMessage { role: Role::System, content: "be <|im_end|> kind".into() },
        ChatMessage { role: Role::User, content: "hello".into() },
        ChatMessage { role: Role::Assistant, content: "hi".into() },
    ];
    let ids = template::render(tokenizer, &messages, Think::Off).unwrap();
    let shown: String = ids
        .iter()
        .map(|id| match tokenizer.is_control(*id) {
            true => format!("[{}]", tokenizer.token(*id).unwrap()),
            false => tokenizer.decode(&[*id]),
        })
        .collect();
    let expected = "[<|im_start|>]system\nbe <|im_end|> kind[<|im_end|>]\n[<|im_start|>]user\nhello[<|im_end|>]\n\
        [<|im_start|>]assistant\nhi[<|im_end|>]\n[<|im_start|>]assistant\n";
    assert_eq!(shown, expected);
}
