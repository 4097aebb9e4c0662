//! A file of snapshots as it is, then with its checksums made right; what it holds is restored and stepped.
#![no_main]
use chimera_engine::{Model, Session, SnapshotFile};
use chimera_fuzz::allocator::{within, worth};
use chimera_fuzz::{mini, snapshots};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;
use std::sync::{Arc, LazyLock};

static MODEL: LazyLock<Arc<Model>> = LazyLock::new(mini::model);
/// The state of one sequence of the mini model and the rows of one step.
const SEQUENCE: usize = 256 << 10;

fuzz_target!(|file: &[u8]| {
    let digest = MODEL.digest();
    open(file);
    let mut repaired = file.to_vec();
    snapshots::repair(&mut repaired, digest);
    open(&repaired);
});

fn open(bytes: &[u8]) {
    within(SEQUENCE + worth(bytes.len()), || {
        let Ok(mut file) = SnapshotFile::open(Cursor::new(bytes)) else { return };
        let counts: Vec<usize> = file.token_counts().take(8).collect();
        for count in counts {
            let Ok(snapshot) = file.read(count) else { continue };
            let mut session = Session::new(Arc::clone(&MODEL));
            if session.restore(&snapshot).is_ok() {
                assert_eq!(session.tokens(), snapshot.tokens());
                let _ = session.step(0);
            }
        }
    });
}
