//! What a session promises: snapshots that change no bit, reuse of prefixes, the course of a generation.
use crate::state::KvPart;
use crate::testing::{Random, Tiny, TinyFile, logits, tokens};
use crate::*;
use chimera_gguf::GgmlType;
use proptest::prelude::*;
use std::io::Cursor;
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

// --- snapshots ---

fn written(snapshots: &[Snapshot]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_snapshots(snapshots, &mut bytes).unwrap();
    bytes
}

/// The longest snapshot of a file.
fn reread(bytes: &[u8]) -> Result<Snapshot, EngineError> {
    let mut file = SnapshotFile::open(Cursor::new(bytes))?;
    let longest = file.token_counts().max().unwrap_or_default();
    file.read(longest)
}

#[test]
fn restoring_changes_no_bit_of_what_follows() {
    for model in [&SHARED.fast, &SHARED.reference] {
        let mut straight = Session::new(Arc::clone(model));
        read(&mut straight, &tokens(77));
        let snapshot = straight.snapshot().unwrap();
        let bytes = written(std::slice::from_ref(&snapshot));
        let following = Random(3).tokens(20);
        let expected: Vec<Vec<f32>> = following.iter().map(|t| straight.step(*t).unwrap().to_vec()).collect();
        for snapshot in [snapshot, reread(&bytes).unwrap()] {
            let mut resumed = Session::new(Arc::clone(model));
            read(&mut resumed, &tokens(5));
            resumed.restore(&snapshot).unwrap();
            assert_eq!(resumed.tokens(), tokens(77));
            for (token, expected) in following.iter().zip(&expected) {
                assert!(resumed.step(*token).unwrap() == expected, "{:?}", model.backend());
            }
            let both = [resumed.snapshot().unwrap(), straight.snapshot().unwrap()];
            assert!(written(&both[..1]) == written(&both[1..]));
        }
    }
}

#[test]
fn a_restored_sequence_has_the_logits_of_its_last_token() {
    for model in [&SHARED.fast, &SHARED.reference] {
        let mut session = Session::new(Arc::clone(model));
        let expected = read(&mut session, &tokens(40));
        let snapshot = session.snapshot().unwrap();
        let mut sequence = model.start().unwrap();
        sequence.load(snapshot.fixed(), snapshot.kv()).unwrap();
        let mut restored = Vec::new();
        model.logits(&mut [(&sequence, &mut restored)]).unwrap();
        assert!(restored == expected);
    }
}

#[test]
fn snapshots_of_one_sequence_share_their_keys_and_values() {
    let mut session = session();
    read(&mut session, &tokens(40));
    let first = session.snapshot().unwrap();
    read(&mut session, &Random(4).tokens(23));
    let second = session.snapshot().unwrap();
    assert!(first.begins(&second) && !second.begins(&first));
    assert_eq!(second.kv().iter().map(KvPart::positions).collect::<Vec<_>>(), [40, 23]);
    let bytes = written(&[second.clone(), first.clone()]);
    let alone = written(std::slice::from_ref(&second));
    assert_eq!(bytes.len() - alone.len(), first.fixed().len() + 20, "the fixed part and its entry");

    let mut file = SnapshotFile::open(Cursor::new(&bytes[..])).unwrap();
    assert_eq!(file.token_counts().collect::<Vec<_>>(), [63, 40]);
    assert!(file.read(40).unwrap().begins(&file.read(63).unwrap()), "shared again");
    for original in [first, second] {
        let again = file.read(original.token_count()).unwrap();
        assert!(again.fixed() == original.fixed() && again.tokens() == original.tokens());
    }
    // Read again from the start, the same tokens are another sequence: nothing of it is shared.
    session.reset();
    read(&mut session, &tokens(40));
    let other = session.snapshot().unwrap();
    let longest = reread(&bytes).unwrap();
    assert!(!other.begins(&longest));
    assert_eq!(written(&[longest, other]).len(), alone.len());
}

#[test]
fn an_empty_session_can_be_snapshotted() {
    let snapshot = reread(&written(&[session().snapshot().unwrap()])).unwrap();
    let mut other = session();
    read(&mut other, &tokens(3));
    other.restore(&snapshot).unwrap();
    assert!(other.tokens().is_empty());
    assert!(read(&mut other, &tokens(9)) == read(&mut session(), &tokens(9)));
}

#[test]
fn snapshots_of_another_model_or_backend_are_foreign() {
    let mut session = session();
    read(&mut session, &tokens(4));
    let snapshot = session.snapshot().unwrap();
    let other_file =
        Tiny { seed: 2, matrices: GgmlType::Q4_0, embedding: GgmlType::Q6K, ..Tiny::default() }.write();
    for model in [other_file.fast(), Arc::clone(&SHARED.reference)] {
        let mut other = Session::new(model);
        assert!(matches!(other.restore(&snapshot), Err(EngineError::SnapshotForeign)));
        assert!(matches!(other.keep_snapshot(snapshot.clone()), Err(EngineError::SnapshotForeign)));
    }
    // The same file, opened again, is the same model.
    Session::new(SHARED.file.fast()).restore(&snapshot).unwrap();
}

#[test]
fn a_file_that_changed_has_another_stamp() {
    let file = Tiny::default().write();
    let stamp = file.fast().file_stamp().to_owned();
    assert_eq!(file.fast().file_stamp(), stamp);
    let copy = file.dir.path().join("copy");
    std::fs::copy(file.path(), &copy).unwrap();
    std::fs::rename(&copy, file.path()).unwrap();
    assert_ne!(file.fast().file_stamp(), stamp);
}

#[test]
fn a_digest_that_is_remembered_is_not_computed_again() {
    let model = SHARED.file.fast();
    model.remember_digest([7; 32]);
    assert_eq!(model.digest(), &[7; 32]);
    assert_eq!(model.sha256(), "07".repeat(32));
    let hashed = SHARED.file.fast();
    let digest = *hashed.digest();
    hashed.remember_digest([7; 32]);
    assert_eq!(*hashed.digest(), digest, "what was computed stays");
}

#[test]
fn another_version_says_so() {
    let mut bytes = written(&[session().snapshot().unwrap()]);
    bytes[8] = 9;
    let error = reread(&bytes).err();
    assert!(matches!(error, Some(EngineError::SnapshotVersion { found: 9, supported: 3 })));
}

/// Two snapshots of one sequence.
static SAVED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut session = session();
    read(&mut session, &tokens(4));
    let first = session.snapshot().unwrap();
    read(&mut session, &tokens(3));
    written(&[session.snapshot().unwrap(), first])
});

/// As whoever forges a file would: the checksum of the index is right.
fn forge(bytes: &mut [u8]) {
    let index = u64::from_le_bytes(bytes[48..56].try_into().unwrap());
    let end = 56usize.saturating_add(usize::try_from(index).unwrap_or(usize::MAX));
    if let Some(slot) = bytes.get(end..).and_then(|rest| rest.get(..8)).map(|_| end) {
        let sum = twox_hash::XxHash3_64::oneshot(&bytes[..end]);
        bytes[slot..slot + 8].copy_from_slice(&sum.to_le_bytes());
    }
}

proptest! {
    #[test]
    fn damaged_bytes_are_an_error(at in any::<prop::sample::Index>(), flip in 1u8..=255, cut in any::<bool>()) {
        let mut bytes = SAVED.clone();
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        let whole = SnapshotFile::open(Cursor::new(&bytes[..])).and_then(|mut file| file.read(7).and(file.read(4)));
        prop_assert!(whole.is_err());
    }

    #[test]
    fn forged_numbers_end_in_an_error_or_a_state(at in 0usize..140, value: [u8; 4], width in 1usize..=4) {
        let mut bytes = SAVED.clone();
        bytes[at..at + width].copy_from_slice(&value[..width]);
        forge(&mut bytes);
        let mut session = session();
        if let Ok(mut file) = SnapshotFile::open(Cursor::new(&bytes[..])) {
            for tokens in file.token_counts().collect::<Vec<_>>() {
                let _ = file.read(tokens).and_then(|snapshot| session.restore(&snapshot)).map(|()| read(&mut session, &[5]));
            }
        }
    }
}

#[test]
fn parts_of_the_wrong_length_are_corrupt() {
    for model in [&SHARED.fast, &SHARED.reference] {
        let mut session = Session::new(Arc::clone(model));
        read(&mut session, &tokens(4));
        let snapshot = session.snapshot().unwrap();
        let (fixed, kv) = (snapshot.fixed(), snapshot.kv()[0].bytes());
        let longer = |bytes: &[u8]| [bytes, &[0]].concat();
        let cases = [
            (fixed[1..].to_vec(), 4, kv.to_vec()),
            (longer(fixed), 4, kv.to_vec()),
            (fixed.to_vec(), 5, kv.to_vec()),
            (fixed.to_vec(), 3, kv.to_vec()),
            (fixed.to_vec(), 0, kv.to_vec()),
            (fixed.to_vec(), 4, kv[1..].to_vec()),
            (fixed.to_vec(), 4, longer(kv)),
        ];
        for (fixed, positions, kv) in cases {
            let error = model.start().unwrap().load(&fixed, &[KvPart::new(positions, kv)]).err();
            assert!(
                matches!(error, Some(EngineError::SnapshotCorrupt { .. })),
                "{positions} {:?}",
                model.backend()
            );
        }
    }
}

#[test]
fn a_state_that_is_not_finite_is_corrupt() {
    let mut session = session();
    read(&mut session, &tokens(4));
    let snapshot = session.snapshot().unwrap();
    let mut fixed = snapshot.fixed().to_vec();
    fixed[100..104].copy_from_slice(&f32::NAN.to_le_bytes());
    let error = SHARED.fast.start().unwrap().load(&fixed, snapshot.kv()).err();
    assert!(matches!(error, Some(EngineError::SnapshotCorrupt { .. })));
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
fn a_snapshot_from_bytes_resumes_a_conversation() {
    let mut before = session();
    generate(&mut before, &tokens(60), &options(10, 1));
    let saved = written(&[before.snapshot().unwrap()]);
    let mut prompt = before.tokens().to_vec();
    let known = prompt.len();
    prompt.extend(Random(4).tokens(8));
    let mut reopened = session();
    reopened.keep_snapshot(reread(&saved).unwrap()).unwrap();
    let (resumed, _) = generate(&mut reopened, &prompt, &options(10, 3));
    assert_eq!(resumed.reused_tokens, known);
    assert_eq!(resumed.text, generate(&mut before, &prompt, &options(10, 3)).0.text);
}

#[test]
fn the_snapshot_budget_is_kept() {
    let mut session = session();
    read(&mut session, &tokens(10));
    let one = session.snapshot().unwrap().bytes();
    session.set_snapshot_budget(one * 5 / 2);
    for seed in 1..6 {
        session.reset();
        read(&mut session, &Random(seed).tokens(10));
        let snapshot = session.snapshot().unwrap();
        session.keep_snapshot(snapshot).unwrap();
    }
    assert_eq!((session.kept.len(), session.kept.bytes()), (2, 2 * one));
    session.set_snapshot_budget(0);
    assert_eq!(session.kept.len(), 0);
}

#[test]
fn what_snapshots_share_counts_once() {
    let mut session = session();
    let mut fixed = 0;
    for seed in 1..=10 {
        read(&mut session, &Random(seed).tokens(30));
        let snapshot = session.snapshot().unwrap();
        fixed += snapshot.own_bytes();
        session.keep_snapshot(snapshot).unwrap();
    }
    let kv = session.snapshot().unwrap().bytes() - session.snapshot().unwrap().own_bytes();
    assert_eq!((session.kept.len(), session.kept.bytes()), (10, fixed + kv));
}

/// A conversation, rendered: the messages alternate between the person and the model.
fn rendered(system: Option<&str>, messages: &[&str]) -> Vec<TokenId> {
    let roles = [Role::User, Role::Assistant].into_iter().cycle();
    let turns = messages.iter().zip(roles).map(|(text, role)| ChatMessage { role, content: (*text).into() });
    let system = system.map(|text| ChatMessage { role: Role::System, content: text.into() });
    let all: Vec<ChatMessage> = system.into_iter().chain(turns).collect();
    template::render(SHARED.fast.tokenizer(), &all, Think::Auto).unwrap()
}

const LONG: &str = "a message of more than a few tokens, as people write them";

#[test]
fn a_new_conversation_starts_after_the_system_prompt() {
    let mut session = session();
    let system = Some("You answer in one sentence, in the language of the question.");
    generate(&mut session, &rendered(system, &[LONG]), &options(3, 1));
    let other = rendered(system, &["something else that is asked"]);
    let (completion, _) = generate(&mut session, &other, &options(3, 1));
    let after_system = other.iter().rposition(|id| *id == other[0]).unwrap();
    let after_system = other[..after_system].iter().rposition(|id| *id == other[0]).unwrap();
    assert!(after_system > 40);
    assert_eq!(completion.reused_tokens, after_system);
}

#[test]
fn changing_the_last_message_of_a_conversation_that_was_read_at_once_rereads_that_message() {
    let mut session = session();
    generate(&mut session, &rendered(None, &[LONG, LONG, LONG, LONG, "the last one"]), &options(3, 1));
    let edited = rendered(None, &[LONG, LONG, LONG, LONG, "another last one"]);
    let before = rendered(None, &[LONG, LONG, LONG, LONG]).len() - rendered(None, &[]).len();
    let (completion, _) = generate(&mut session, &edited, &options(3, 1));
    assert_eq!(completion.reused_tokens, before);
    let (fresh, _) = generate(&mut self::session(), &edited, &options(3, 1));
    assert_eq!(fresh.text, completion.text);
}

#[test]
fn reading_a_long_prompt_pauses_seldom() {
    let messages = vec![LONG; 101];
    let prompt = rendered(Some(LONG), &messages);
    let pauses = session().pauses(&prompt);
    assert!(prompt.len() > 5000 && pauses.len() <= 3 + prompt.len() / 1024, "{pauses:?}");
    assert!(pauses.iter().all(|at| prompt[*at] == prompt[0]), "turns begin there");
    assert!(pauses.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn what_is_worth_writing_is_the_newest_state_and_the_turn_before() {
    let mut session = session();
    let mut prompt = rendered(None, &[LONG]);
    let mut ends = Vec::new();
    for seed in 1..=3 {
        let mut keep_on = options(6, seed);
        keep_on.sampling.temperature = 0.0;
        generate(&mut session, &prompt, &keep_on);
        ends.push(session.tokens().len());
        prompt = session.tokens().to_vec();
        prompt.extend(&rendered(None, &[LONG, "", LONG])[rendered(None, &[LONG]).len()..]);
    }
    let counts = |allowance| {
        session.resumable(&prompt, allowance).iter().map(Snapshot::token_count).collect::<Vec<_>>()
    };
    assert_eq!(counts(0), [ends[2], ends[1]]);
    assert_eq!(counts(usize::MAX), [ends[2], ends[1], ends[0]]);
    let bytes = written(&session.resumable(&prompt, usize::MAX));
    assert_eq!(SnapshotFile::open(Cursor::new(&bytes[..])).unwrap().token_counts().count(), 3);
}

#[test]
fn an_answer_that_encodes_differently_is_read_ahead() {
    let mut session = session();
    let question = rendered(None, &[LONG]);
    generate(&mut session, &question, &options(4, 1));
    let next = rendered(None, &[LONG, "the answer as it was shown, not as it was sampled", LONG]);
    assert_eq!(session.known(&next), question.len());
    let settled = rendered(None, &[LONG, "the answer as it was shown, not as it was sampled"]);
    session.settle(&settled, &CancelFlag::default()).unwrap();
    let header = rendered(None, &[]).len();
    assert_eq!(session.known(&next), settled.len() - header);
    // There is nothing left to do, and stopping is no error.
    session.settle(&settled, &CancelFlag::default()).unwrap();
    let cancel = CancelFlag::default();
    cancel.cancel();
    session.settle(&rendered(None, &[LONG, LONG, LONG, LONG]), &cancel).unwrap();
}

#[test]
fn a_damaged_snapshot_is_dropped_and_the_prompt_read_instead() {
    let mut session = session();
    read(&mut session, &tokens(50));
    let good = session.snapshot().unwrap();
    session.reset();
    let kv = vec![KvPart::new(50, good.kv()[0].bytes()[1..].to_vec())];
    let bad = Snapshot::new(SHARED.fast.file(), Backend::Fast, &tokens(50), good.fixed().to_vec(), kv);
    session.keep_snapshot(bad).unwrap();
    let prompt = tokens(60);
    assert_eq!(session.known(&prompt), 50);
    let (completion, _) = generate(&mut session, &prompt, &options(3, 1));
    assert_eq!(completion.reused_tokens, 0);
}

#[test]
fn forgetting_leaves_nothing_to_resume_from() {
    let mut session = session();
    generate(&mut session, &tokens(60), &options(3, 1));
    session.forget();
    assert_eq!((session.known(&tokens(60)), session.kept.len()), (0, 0));
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
