//! Tensor infos and data behind a header that is right. The first byte is the number of tensors.
#![no_main]
use chimera_fuzz::allocator::{within, worth};
use chimera_gguf::{MAGIC, VERSION};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((count, table)) = input.split_first() else { return };
    let mut file = Vec::from(MAGIC);
    file.extend(VERSION.to_le_bytes());
    file.extend(u64::from(*count).to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(table);
    within(worth(file.len()), || chimera_fuzz::parse(&file));
});
