//! A whole file: header, keys, values, tensor infos.
#![no_main]
use chimera_fuzz::allocator::{within, worth};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|file: &[u8]| {
    within(worth(file.len()), || chimera_fuzz::parse(file));
});
