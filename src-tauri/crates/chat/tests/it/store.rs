//! The files of the model's states: whole or not there, within their budget, gone when they should be.
use chimera_chat::snapshots::SnapshotStore;
use chimera_engine::{CancelFlag, LoadOptions, Model, Session, Snapshot, TokenId, write_snapshots};
use proptest::prelude::*;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;
use uuid::Uuid;

pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/tiny/tiny-q4_0.gguf")
}

pub fn load(path: &Path) -> Arc<Model> {
    Model::load(path, &LoadOptions { threads: 1, ..LoadOptions::default() }).unwrap()
}

static MODEL: LazyLock<Arc<Model>> = LazyLock::new(|| load(&tiny()));

/// Ordinary tokens, other ones for each seed.
fn tokens(seed: u32, n: u32) -> Vec<TokenId> {
    (0..n).map(|i| 100 + (i * 37 + seed * 101) % 800).collect()
}

/// Two snapshots of one sequence, after 60 and after 40 tokens.
fn snapshots(seed: u32) -> Vec<Snapshot> {
    let mut session = Session::new(Arc::clone(&MODEL));
    let mut read = |tokens: &[TokenId]| {
        session.prefill(tokens, &CancelFlag::default(), &mut |_, _| {}).unwrap();
        session.snapshot().unwrap()
    };
    let all = tokens(seed, 60);
    let first = read(&all[..40]);
    vec![read(&all[40..]), first]
}

fn bytes(snapshot: &Snapshot) -> Vec<u8> {
    let mut out = Vec::new();
    write_snapshots(std::slice::from_ref(snapshot), &mut out).unwrap();
    out
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

struct Shelf {
    dir: TempDir,
    store: Arc<SnapshotStore>,
}

impl Shelf {
    fn new(budget: u64) -> Self {
        let dir = TempDir::new().unwrap();
        let store = SnapshotStore::open(dir.path().join("snapshots"), budget).unwrap();
        Self { dir, store }
    }

    fn file(&self, conversation: Uuid) -> PathBuf {
        self.dir.path().join(format!("snapshots/{conversation}.state"))
    }

    fn put(&self, conversation: Uuid, snapshots: Vec<Snapshot>) {
        self.store.write(conversation, snapshots);
        self.store.flush();
    }

    fn get(&self, conversation: Uuid, prompt: &[TokenId]) -> Option<Snapshot> {
        self.store.read(conversation, &MODEL, prompt, 0).map(|recalled| recalled.snapshot)
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path().join("snapshots")).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn the_longest_state_that_a_prompt_begins_with_comes_back_bit_for_bit() {
    let shelf = Shelf::new(u64::MAX);
    let written = snapshots(1);
    shelf.put(id(1), written.clone());
    let mut prompt = tokens(1, 60);
    prompt.extend([5, 6]);
    let longest = shelf.get(id(1), &prompt).unwrap();
    assert!(bytes(&longest) == bytes(&written[0]));
    let earlier = shelf.store.read(id(1), &MODEL, &prompt, 0).unwrap().earlier();
    assert!(earlier.len() == 1 && bytes(&earlier[0]) == bytes(&written[1]));
    let mut edited = tokens(1, 50);
    edited.push(5);
    assert_eq!(shelf.get(id(1), &edited).unwrap().token_count(), 40);
    assert!(shelf.get(id(1), &tokens(2, 60)).is_none(), "another beginning");
    assert!(shelf.get(id(2), &prompt).is_none(), "another conversation");
    assert!(shelf.store.read(id(1), &MODEL, &prompt, 40).is_none(), "hardly more than what is known");
    assert!(shelf.store.read(id(1), &MODEL, &prompt, 20).is_some());
    assert_eq!(shelf.names(), [format!("{}.state", id(1))]);
}

#[test]
fn two_conversations_that_alternate_keep_each_their_own() {
    let shelf = Shelf::new(u64::MAX);
    let both = [snapshots(1), snapshots(2)];
    for _ in 0..3 {
        both.iter().zip(1..).for_each(|(written, n)| shelf.store.write(id(n), written.clone()));
    }
    shelf.store.flush();
    for (written, n) in both.iter().zip(1..) {
        let found = shelf.get(id(n), &tokens(n as u32, 60)).unwrap();
        assert!(bytes(&found) == bytes(&written[0]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Any byte changed, any length: what comes back is what was written, or nothing, and then the file is gone.
    #[test]
    fn a_damaged_file_is_never_believed(at in any::<prop::sample::Index>(), flip in 1u8..=255, cut in any::<bool>()) {
        static WRITTEN: LazyLock<Vec<Snapshot>> = LazyLock::new(|| snapshots(1));
        static WHOLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
            let mut out = Vec::new();
            write_snapshots(&WRITTEN, &mut out).unwrap();
            out
        });
        let shelf = Shelf::new(u64::MAX);
        shelf.put(id(1), WRITTEN.clone());
        let mut damaged = WHOLE.clone();
        let at = at.index(damaged.len());
        if cut { damaged.truncate(at) } else { damaged[at] ^= flip }
        std::fs::write(shelf.file(id(1)), damaged).unwrap();
        for (prompt, written) in [(60, &WRITTEN[0]), (40, &WRITTEN[1])] {
            match shelf.get(id(1), &tokens(1, prompt)) {
                Some(found) => prop_assert!(bytes(&found) == bytes(written)),
                None => prop_assert!(!shelf.file(id(1)).exists()),
            }
        }
        prop_assert!(!shelf.file(id(1)).exists(), "one of the two reads met the damage");
        shelf.put(id(1), WRITTEN.clone());
        prop_assert!(shelf.get(id(1), &tokens(1, 60)).is_some(), "the next turn writes a sound one");
    }
}

#[test]
fn what_is_no_file_of_ours_is_no_error() {
    for content in [&b""[..], b"CHIMSNAP", &[0xff; 4096], b"CHIMSNAP\x01\0\0\0"] {
        let shelf = Shelf::new(u64::MAX);
        shelf.put(id(1), snapshots(1));
        std::fs::write(shelf.file(id(1)), content).unwrap();
        assert!(shelf.get(id(1), &tokens(1, 60)).is_none());
        assert!(!shelf.file(id(1)).exists());
    }
    let shelf = Shelf::new(u64::MAX);
    std::fs::create_dir_all(shelf.file(id(1))).unwrap();
    assert!(shelf.get(id(1), &tokens(1, 60)).is_none());
    shelf.put(id(1), snapshots(1)); // cannot be renamed over a directory: told in the log
    assert_eq!(shelf.names(), [format!("{}.state", id(1))]);
    shelf.store.remove(id(1));
}

/// A model of the same shape with one weight changed.
pub fn other_model(dir: &Path) -> PathBuf {
    let mut bytes = std::fs::read(tiny()).unwrap();
    let last = bytes.len() - 40;
    bytes[last] ^= 0x11;
    let path = dir.join("other.gguf");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_state_of_another_model_is_removed() {
    let shelf = Shelf::new(u64::MAX);
    let other = load(&other_model(shelf.dir.path()));
    shelf.put(id(1), snapshots(1));
    assert!(shelf.store.read(id(1), &other, &tokens(1, 60), 0).is_none());
    assert!(!shelf.file(id(1)).exists());

    shelf.put(id(1), snapshots(1));
    std::fs::write(shelf.file(id(2)), "damaged").unwrap();
    shelf.store.identify(&MODEL);
    shelf.store.flush();
    assert_eq!(shelf.names(), [format!("{}.state", id(1)), "model".into()]);
    shelf.store.identify(&other);
    shelf.store.flush();
    assert_eq!(shelf.names(), ["model"]);
}

#[test]
fn the_hash_of_a_model_is_remembered_as_long_as_its_file_is_the_same() {
    let shelf = Shelf::new(u64::MAX);
    let path = other_model(shelf.dir.path());
    let first = load(&path);
    shelf.store.identify(&first);
    shelf.store.flush();
    let note = shelf.dir.path().join("snapshots/model");
    let text = std::fs::read_to_string(&note).unwrap();
    assert_eq!(text, format!("{}\n{}\n", first.file_stamp(), first.sha256()));
    // A remembered hash is believed without looking at the file.
    let zeros = format!("{}\n{}\n", first.file_stamp(), "00".repeat(32));
    std::fs::write(&note, &zeros).unwrap();
    let again = load(&path);
    shelf.store.identify(&again);
    shelf.store.flush();
    assert_eq!(again.digest(), &[0; 32]);
    // One of another file, or a damaged note, is not.
    for note_text in
        [zeros.replace(first.file_stamp(), "1 2 3"), "x".into(), String::new(), zeros[..70].into()]
    {
        std::fs::write(&note, note_text).unwrap();
        let again = load(&path);
        shelf.store.identify(&again);
        assert_eq!(again.digest(), first.digest());
        shelf.store.flush();
    }
}

#[test]
fn the_least_recently_written_files_go_when_the_budget_is_full() {
    let one = bytes(&snapshots(1)[0]).len() as u64;
    let shelf = Shelf::new(one * 3);
    for n in [1, 2, 3, 1, 4] {
        shelf.put(id(n), snapshots(n as u32)[..1].to_vec());
        let written = std::fs::metadata(shelf.file(id(n))).unwrap().modified().unwrap();
        // Clocks of file systems may be coarse.
        while std::time::SystemTime::now() < written + std::time::Duration::from_millis(20) {
            std::thread::yield_now();
        }
    }
    assert_eq!(shelf.names(), [1, 3, 4].map(|n| format!("{}.state", id(n))));
    let none = Shelf::new(one - 1);
    none.put(id(1), snapshots(1)[..1].to_vec());
    assert!(none.names().is_empty(), "one that is larger than the budget is not kept");
    let off = Shelf::new(0);
    off.put(id(1), snapshots(1));
    assert!(!off.store.dir().exists());
}

#[test]
fn what_is_removed_is_overwritten_and_never_written_again() {
    let shelf = Shelf::new(u64::MAX);
    shelf.put(id(1), snapshots(1));
    shelf.put(id(2), snapshots(2));
    // A second name keeps the content in reach.
    let witness = shelf.dir.path().join("witness");
    std::fs::hard_link(shelf.file(id(1)), &witness).unwrap();
    shelf.store.write(id(1), snapshots(1));
    shelf.store.remove(id(1));
    shelf.store.write(id(1), snapshots(1));
    shelf.store.flush();
    assert_eq!(shelf.names(), [format!("{}.state", id(2))]);
    shelf.store.remove(id(2));
    std::fs::remove_file(&witness).unwrap();

    shelf.put(id(3), snapshots(3));
    std::fs::hard_link(shelf.file(id(3)), &witness).unwrap();
    shelf.store.remove(id(3));
    let left = std::fs::read(&witness).unwrap();
    assert!(!left.is_empty() && left.iter().all(|byte| *byte == 0));
}

#[test]
fn files_of_conversations_that_are_gone_are_removed_at_the_start() {
    let shelf = Shelf::new(u64::MAX);
    [1, 2, 3].iter().for_each(|n| shelf.put(id(*n), snapshots(*n as u32)));
    shelf.store.keep_only(&[id(2)]);
    assert_eq!(shelf.names(), [format!("{}.state", id(2))]);
}

#[cfg(unix)]
#[test]
fn other_accounts_cannot_read_the_states() {
    use std::os::unix::fs::PermissionsExt;
    let shelf = Shelf::new(u64::MAX);
    shelf.put(id(1), snapshots(1));
    assert_eq!(std::fs::metadata(shelf.store.dir()).unwrap().permissions().mode() & 0o777, 0o700);
}

const CHILD_DIR: &str = "CHIMERA_TEST_CHILD_DIR";

/// The child's part: does nothing unless this very test binary started it with a directory.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let store = SnapshotStore::open(PathBuf::from(dir), u64::MAX).unwrap();
    let (long, short) = (snapshots(1), snapshots(1).split_off(1));
    for n in 0.. {
        store.write(id(1), if n % 2 == 0 { long.clone() } else { short.clone() });
        store.flush();
        println!("\nchild wrote {n}");
    }
}

#[test]
fn a_process_killed_while_it_writes_leaves_a_whole_file() {
    let shelf = Shelf::new(u64::MAX);
    let [long, short] = [0, 1].map(|at| bytes(&snapshots(1)[at]));
    for writes in [1, 2, 7, 20, 21] {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::child_writes_until_it_is_killed", "--nocapture"])
            .env(CHILD_DIR, shelf.store.dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert_eq!(lines.filter(|line| line.starts_with("child wrote")).take(writes).count(), writes);
        child.kill().unwrap(); // SIGKILL on Unix
        child.wait().unwrap();
        // The next start removes what was not finished.
        let store = SnapshotStore::open(shelf.store.dir(), u64::MAX).unwrap();
        assert_eq!(shelf.names(), [format!("{}.state", id(1))]);
        let found = bytes(&store.read(id(1), &MODEL, &tokens(1, 60), 0).unwrap().snapshot);
        assert!(found == long || found == short);
    }
}
