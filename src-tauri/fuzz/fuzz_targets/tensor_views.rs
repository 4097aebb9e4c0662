//! A whole file: every byte of every tensor is read, then the contract and the tokenizer.
#![no_main]
use chimera_engine::{StreamDecoder, Tokenizer};
use chimera_fuzz::allocator::{within, worth};
use chimera_gguf::ValidModel;
use libfuzzer_sys::fuzz_target;
use std::hint::black_box;

/// The engine of the split pattern and the first pages of the hash tables, whatever the file.
const TOKENIZER: usize = 4 << 20;
const TEXT: &str = "नमस्ते, hello  <|im_end|> १२३ 42\r\n\u{1f469}\u{200d}\u{1f469}";

fuzz_target!(|file: &[u8]| {
    let valid = within(worth(file.len()), || {
        chimera_fuzz::parse(file).and_then(|gguf| ValidModel::from_gguf(gguf).ok())
    });
    let Some(valid) = valid else { return };
    within(TOKENIZER + 4 * worth(file.len()), || {
        let Ok(tokenizer) = Tokenizer::new(&valid.tokenizer) else { return };
        let ids = tokenizer.encode(TEXT);
        assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocab_size()));
        black_box(tokenizer.decode(&ids));
        let mut stream = StreamDecoder::new(&tokenizer);
        (0..tokenizer.vocab_size() as u32).for_each(|id| {
            black_box(stream.push(id));
        });
    });
});
