//! Snapshots: they change no bit, share what they can, survive damage; and what is not read twice because of them.
use super::{SHARED, generate, options, read, session};
use crate::state::KvPart;
use crate::testing::{Random, Tiny, tokens};
use crate::*;
use chimera_gguf::GgmlType;
use proptest::prelude::*;
use std::io::Cursor;
use std::sync::{Arc, LazyLock};

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

// --- what is not read twice ---

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
    let (fresh, _) = generate(&mut super::session(), &edited, &options(3, 1));
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
