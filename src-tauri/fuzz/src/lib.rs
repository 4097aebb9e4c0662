//! What the fuzz targets share: the limit on allocations, a walk over everything a parsed file holds, a small model.
pub mod allocator;
pub mod mini;
pub mod snapshots;

use chimera_gguf::{Array, Gguf, Limits, Value};
use std::hint::black_box;

/// Parses; on success reads every key, value and tensor byte. Returns the parsed file.
pub fn parse(file: &[u8]) -> Option<Gguf> {
    let gguf = Gguf::parse(file, &Limits::default()).ok()?;
    for (key, value) in gguf.metadata() {
        assert!(gguf.get(key).is_some(), "every key is found again");
        touch(value);
    }
    let mut end = 0;
    for tensor in gguf.tensors() {
        let data = tensor.data(file).expect("a range of an accepted file is inside it");
        assert!(tensor.range.start >= end, "ranges follow each other");
        assert_eq!(Some(data.len()), tensor.dtype.tensor_bytes(&tensor.dims));
        assert!(gguf.tensor(&tensor.name).is_some(), "every tensor is found again");
        black_box(data.iter().fold(0u64, |sum, &b| sum.wrapping_add(b.into())));
        end = tensor.range.end;
    }
    Some(gguf)
}

fn touch(value: &Value) {
    if let Value::Array(Array::String(strings)) = value {
        black_box(strings.iter().map(str::len).sum::<usize>());
    }
    black_box(value.as_str().map(str::len));
    black_box(value.as_array().map(Array::len));
}
