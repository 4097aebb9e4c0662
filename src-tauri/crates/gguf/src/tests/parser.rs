//! One test for every rule of the format.
use super::fixture::{Raw, string, two_tensors};
use crate::{Array, Gguf, GgufError, Limits, Section, Value, ValueType};
use GgufError as E;

fn parse(raw: &Raw) -> Result<Gguf, GgufError> {
    Gguf::parse(&raw.build(), &Limits::default())
}

fn error(raw: &Raw) -> GgufError {
    parse(raw).expect_err("the file breaks a rule")
}

/// A file whose only key is an array of `element` type with `len` elements announced.
fn array(element: u32, len: u64, elements: &[u8]) -> Raw {
    Raw::default().key("k", 9, &[&element.to_le_bytes()[..], &len.to_le_bytes(), elements].concat())
}

#[test]
fn accepts_tensors_that_cover_the_data_section() {
    let raw = two_tensors();
    let file = raw.build();
    let gguf = parse(&raw).unwrap();
    assert_eq!(gguf.get("k"), Some(&Value::U32(7)));
    assert_eq!(gguf.tensor("a").unwrap().data(&file), Some(&[1; 12][..]));
    assert_eq!(gguf.tensor("b").unwrap().data(&file), Some(&[2; 32][..]));
    assert_eq!((gguf.parameters(), gguf.file_len()), (11, file.len()));
}

#[test]
fn accepts_a_last_tensor_with_or_without_its_padding() {
    let raw = |padding: usize| {
        let mut raw = Raw::default().tensor("a", &[3], 0, 0).data(12);
        raw.data.resize(12 + padding, 0);
        raw
    };
    assert!(parse(&raw(0)).is_ok());
    assert!(parse(&raw(20)).is_ok());
    assert!(matches!(error(&raw(19)), E::TrailingBytes { .. }));
    assert!(matches!(error(&raw(21)), E::TrailingBytes { .. }));
}

#[test]
fn accepts_a_file_without_tensors() {
    assert!(parse(&Raw::default().key("k", 0, &[1])).unwrap().tensors().is_empty());
}

#[test]
fn rejects_the_empty_file() {
    let expected = E::Truncated { section: Section::Header, offset: 0, needed: 4, len: 0 };
    assert_eq!(Gguf::parse(&[], &Limits::default()), Err(expected));
}

#[test]
fn rejects_another_magic() {
    assert_eq!(error(&Raw { magic: *b"GGML", ..two_tensors() }), E::BadMagic { found: *b"GGML" });
}

#[test]
fn rejects_other_versions_and_big_endian() {
    for found in [0, 1, 2, 4, u32::MAX, 3u32.swap_bytes()] {
        assert_eq!(error(&Raw { version: found, ..two_tensors() }), E::UnsupportedVersion { found });
    }
}

#[test]
fn rejects_truncation_at_every_byte() {
    let file = two_tensors().build();
    for len in 0..file.len() {
        assert!(Gguf::parse(&file[..len], &Limits::default()).is_err(), "accepted {len} of {}", file.len());
    }
}

#[test]
fn rejects_trailing_bytes() {
    let mut raw = two_tensors();
    raw.data.push(0);
    let len = raw.build().len();
    assert_eq!(error(&raw), E::TrailingBytes { end: len - 1, len });
}

#[test]
fn rejects_padding_that_is_not_zero() {
    let mut raw = two_tensors();
    raw.data[31] = 1;
    assert!(matches!(error(&raw), E::PaddingNotZero { .. }));
    let mut file = two_tensors().build();
    let header = two_tensors().header().len();
    file[header] = 1;
    assert_eq!(Gguf::parse(&file, &Limits::default()), Err(E::PaddingNotZero { offset: header }));
}

#[test]
fn rejects_more_keys_than_the_file_can_hold() {
    let raw = Raw { n_kv: Some(4096), ..two_tensors() };
    assert!(matches!(error(&raw), E::CountExceedsFile { section: Section::Key, count: 4096, .. }));
    let raw = Raw { n_kv: Some(u64::MAX), ..two_tensors() };
    assert_eq!(error(&raw), E::TooManyKeys { count: u64::MAX, max: 4096 });
}

#[test]
fn rejects_more_tensors_than_the_file_can_hold() {
    let raw = Raw { n_tensors: Some(65_536), ..two_tensors() };
    assert!(matches!(error(&raw), E::CountExceedsFile { section: Section::TensorInfo, .. }));
    let raw = Raw { n_tensors: Some(1 << 63), ..two_tensors() };
    assert_eq!(error(&raw), E::TooManyTensors { count: 1 << 63, max: 65_536 });
}

#[test]
fn rejects_oversized_string_length() {
    for len in [u64::MAX, i64::MAX as u64, (4 << 20) + 1] {
        let raw = Raw::default().key("k", 8, &len.to_le_bytes());
        assert!(matches!(error(&raw), E::StringTooLong { len: found, .. } if found == len));
    }
    let raw = Raw::default().key("k", 8, &100u64.to_le_bytes());
    assert!(matches!(error(&raw), E::Truncated { section: Section::Value, needed: 100, .. }));
}

#[test]
fn rejects_a_key_or_name_that_is_empty_long_or_not_printable() {
    for key in ["", "a b", "a\0", "क"] {
        let raw = Raw::default().key(key, 4, &[0; 4]);
        assert_eq!(error(&raw), E::BadName { section: Section::Key, offset: 24 }, "{key:?}");
    }
    let long = "k".repeat(257);
    assert!(matches!(error(&Raw::default().key(&long, 0, &[0])), E::StringTooLong { len: 257, .. }));
    let long = Raw::default().tensor(&"t".repeat(64), &[1], 0, 0).data(4);
    assert!(matches!(error(&long), E::StringTooLong { section: Section::TensorInfo, len: 64, .. }));
}

#[test]
fn rejects_text_that_is_not_utf8() {
    let raw = Raw::default().key("k", 8, &string(&[0xe0, 0xa4]));
    assert!(matches!(error(&raw), E::NotUtf8 { section: Section::Value, .. }));
    let surrogate = Raw::default().key("k", 8, &string(&[0xed, 0xa0, 0x80]));
    assert!(matches!(error(&surrogate), E::NotUtf8 { .. }));
}

#[test]
fn rejects_duplicate_keys() {
    let raw = Raw::default().key("k", 0, &[1]).key("k", 0, &[1]);
    assert_eq!(error(&raw), E::DuplicateKey { key: "k".into() });
}

#[test]
fn rejects_duplicate_tensors() {
    let raw = Raw::default().tensor("a", &[8], 0, 0).tensor("a", &[8], 0, 32).data(64);
    assert_eq!(error(&raw), E::DuplicateTensor { name: "a".into() });
}

#[test]
fn rejects_unknown_value_types() {
    for id in [13, 255, u32::MAX] {
        assert_eq!(
            error(&Raw::default().key("k", id, &[0; 16])),
            E::UnknownValueType { key: "k".into(), id }
        );
    }
}

#[test]
fn rejects_a_bool_that_is_neither_0_nor_1() {
    assert_eq!(error(&Raw::default().key("k", 7, &[2])), E::BadBool { key: "k".into(), found: 2 });
    assert_eq!(error(&array(7, 2, &[1, 255])), E::BadBool { key: "k".into(), found: 255 });
}

#[test]
fn rejects_nested_arrays() {
    assert_eq!(error(&array(9, 1, &[0; 64])), E::NestedArray { key: "k".into() });
}

#[test]
fn rejects_an_array_longer_than_the_rest_of_the_file_before_allocating() {
    for (element, min_bytes) in [(0, 1), (5, 4), (8, 8), (12, 8)] {
        let found = error(&array(element, 1 << 22, &[0; 64]));
        assert!(
            matches!(found, E::CountExceedsFile { min_bytes: m, remaining: 64, .. } if m == min_bytes),
            "{found}"
        );
    }
    let max = 4 << 20;
    assert_eq!(error(&array(0, u64::MAX, &[])), E::ArrayTooLong { key: "k".into(), len: u64::MAX, max });
    assert!(matches!(error(&array(10, 1 << 61, &[0; 8])), E::ArrayTooLong { .. }));
}

#[test]
fn an_array_takes_no_more_memory_than_its_elements() {
    let gguf = parse(&array(0, 1000, &[7; 1000])).unwrap();
    let Some(Value::Array(Array::U8(bytes))) = gguf.get("k") else { panic!("not a u8 array") };
    assert_eq!((bytes.len(), bytes.capacity()), (1000, 1000));
}

#[test]
fn rejects_metadata_beyond_its_limit() {
    let limits = Limits { max_metadata_bytes: 64, ..Limits::default() };
    let raw = Raw::default().key("k", 8, &string(&[b'x'; 100]));
    assert_eq!(Gguf::parse(&raw.build(), &limits), Err(E::MetadataTooLarge { max: 64 }));
    assert_eq!(Limits::default().max_metadata_bytes, 64 << 20);
}

#[test]
fn rejects_alignment_zero() {
    for found in [0, 1, 16, 64, u32::MAX] {
        let raw = Raw::default().key("general.alignment", 4, &found.to_le_bytes());
        assert_eq!(error(&raw), E::BadAlignment { found });
    }
    assert!(parse(&Raw::default().key("general.alignment", 4, &32u32.to_le_bytes())).is_ok());
}

#[test]
fn rejects_alignment_of_another_type() {
    let as_u64 = Raw::default().key("general.alignment", 10, &32u64.to_le_bytes());
    assert_eq!(error(&as_u64), E::AlignmentType { found: ValueType::U64 });
    let as_string = Raw::default().key("general.alignment", 8, &string(b"32"));
    assert_eq!(error(&as_string), E::AlignmentType { found: ValueType::String });
}

#[test]
fn rejects_zero_dimension() {
    for axis in 0..3 {
        let mut dims = [4u64, 4, 4];
        dims[axis] = 0;
        let raw = Raw::default().tensor("a", &dims, 0, 0).data(256);
        assert_eq!(error(&raw), E::ZeroDim { name: "a".into(), axis });
    }
}

#[test]
fn rejects_no_and_more_than_four_dimensions() {
    for n in [0, 5, 100] {
        let raw = Raw::default().tensor("a", &vec![1; n], 0, 0).data(4);
        assert_eq!(error(&raw), E::BadDimCount { name: "a".into(), n_dims: n as u32 });
    }
}

#[test]
fn rejects_dimensions_whose_product_wraps() {
    for dims in [vec![1 << 40, 1 << 40], vec![1 << 42, 1 << 22], vec![u64::MAX; 4], vec![1 << 32, 1 << 31, 2]]
    {
        let raw = Raw::default().tensor("a", &dims, 0, 0).data(32);
        assert_eq!(error(&raw), E::TensorTooLarge { name: "a".into(), dims, max: 1 << 40 });
    }
}

#[test]
fn rejects_unknown_element_types() {
    for id in [4, 5, 31, 36, 1000, u32::MAX] {
        let raw = Raw::default().tensor("a", &[32], id, 0).data(128);
        assert_eq!(error(&raw), E::UnknownGgmlType { name: "a".into(), id });
    }
}

#[test]
fn rejects_rows_that_are_no_whole_blocks() {
    let raw = Raw::default().tensor("a", &[48, 2], 2, 0).data(96);
    assert!(matches!(error(&raw), E::RowNotBlocks { row: 48, .. }));
}

#[test]
fn rejects_tensors_that_overlap() {
    let raw = Raw::default().tensor("a", &[8], 0, 0).tensor("b", &[8], 0, 0).data(32);
    assert_eq!(error(&raw), E::BadOffset { name: "b".into(), found: 0, expected: 32 });
}

#[test]
fn rejects_a_hole_between_tensors() {
    let raw = Raw::default().tensor("a", &[8], 0, 0).tensor("b", &[8], 0, 64).data(96);
    assert_eq!(error(&raw), E::BadOffset { name: "b".into(), found: 64, expected: 32 });
    let raw = Raw::default().tensor("a", &[8], 0, 32).data(64);
    assert_eq!(error(&raw), E::BadOffset { name: "a".into(), found: 32, expected: 0 });
}

#[test]
fn rejects_offsets_that_wrap_or_are_not_aligned() {
    for found in [1, 16, u64::MAX, u64::MAX - 31] {
        let raw = Raw::default().tensor("a", &[8], 0, found).data(64);
        assert_eq!(error(&raw), E::BadOffset { name: "a".into(), found, expected: 0 });
    }
}

#[test]
fn rejects_a_tensor_that_reaches_past_the_file() {
    let raw = Raw::default().tensor("a", &[9], 0, 0).data(32);
    assert!(matches!(error(&raw), E::TensorOutOfFile { .. }));
    let raw = Raw::default().tensor("a", &[1 << 40], 0, 0).data(32);
    assert!(matches!(error(&raw), E::TensorOutOfFile { .. }));
}
