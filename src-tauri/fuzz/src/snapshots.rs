//! Makes the checksums and the model's hash of a snapshot file right, so that a mutation gets past them.
//! The layout is the one in the engine's `state/file.rs`.
use twox_hash::XxHash3_64;

const DIGEST: std::ops::Range<usize> = 16..48;
const HEADER: usize = 56;
const ENTRY: usize = 4 + 8 + 8;

/// Repairs what there is to repair; a file that is too short stays as it is.
pub fn repair(file: &mut [u8], digest: &[u8; 32]) {
    let Some(index) = u64_at(file, 48).and_then(|n| usize::try_from(n).ok()) else { return };
    let Some(end) =
        HEADER.checked_add(index).filter(|end| file.len().checked_sub(*end).is_some_and(|left| left >= 8))
    else {
        return;
    };
    file[DIGEST].copy_from_slice(digest);
    repair_parts(file, end);
    let sum = XxHash3_64::oneshot(&file[..end]);
    file[end..end + 8].copy_from_slice(&sum.to_le_bytes());
}

/// The checksums of the parts that are inside the file. `end`: of the index.
fn repair_parts(file: &mut [u8], end: usize) -> Option<()> {
    let [tokens, kv, snapshots] =
        [u32_at(file, HEADER)?, u32_at(file, HEADER + 4)?, u32_at(file, HEADER + 8)?];
    let mut entry = HEADER + 12 + tokens.checked_mul(4)?;
    let mut start = end + 8;
    for _ in 0..kv.checked_add(snapshots)? {
        let bytes = usize::try_from(u64_at(file, entry + 4)?).ok()?;
        let part = file.get(start..start.checked_add(bytes)?)?;
        let sum = XxHash3_64::oneshot(part).to_le_bytes();
        file.get_mut(entry + 12..entry + ENTRY).filter(|_| entry + ENTRY <= end)?.copy_from_slice(&sum);
        (entry, start) = (entry + ENTRY, start + bytes);
    }
    Some(())
}

fn u32_at(file: &[u8], at: usize) -> Option<usize> {
    Some(u32::from_le_bytes(file.get(at..at + 4)?.try_into().ok()?) as usize)
}

fn u64_at(file: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(file.get(at..at.checked_add(8)?)?.try_into().ok()?))
}
