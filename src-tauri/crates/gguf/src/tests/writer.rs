//! What is written parses back to the same, and a misuse is refused.
use super::fixture::draft;
use crate::{GgmlType, Gguf, Limits, StringArray, Value, WriteError, Writer};

#[test]
fn every_value_type_survives_the_round_trip() {
    let strings: StringArray = ["", "नमस्ते", "a"].iter().collect();
    let values: Vec<Value> = vec![
        1u8.into(),
        (-1i8).into(),
        2u16.into(),
        (-2i16).into(),
        3u32.into(),
        (-3i32).into(),
        1.5f32.into(),
        4u64.into(),
        (-4i64).into(),
        2.5f64.into(),
        true.into(),
        "हिन्दी".into(),
        vec![1u8, 2].into(),
        vec![-1i8].into(),
        vec![1u16].into(),
        vec![-1i16].into(),
        vec![1u32, 2].into(),
        vec![-1i32, 2].into(),
        vec![0.5f32].into(),
        vec![1u64].into(),
        vec![-1i64].into(),
        vec![0.25f64].into(),
        vec![true, false].into(),
        strings.into(),
    ];
    let mut writer = Writer::new();
    for (i, value) in values.iter().enumerate() {
        writer.kv(&format!("k{i}"), value.clone()).unwrap();
    }
    let file = writer.write_header(Vec::new()).unwrap().finish().unwrap();
    let gguf = Gguf::parse(&file, &Limits::default()).unwrap();
    let found: Vec<Value> = gguf.metadata().iter().map(|(_, v)| v.clone()).collect();
    assert_eq!(found, values);
}

#[test]
fn tensor_data_survives_the_round_trip() {
    let mut writer = Writer::new();
    assert_eq!(writer.tensor("a", &[3], GgmlType::F32).unwrap(), 12);
    assert_eq!(writer.tensor("b", &[64, 2], GgmlType::Q4_0).unwrap(), 72);
    let mut out = writer.write_header(Vec::new()).unwrap();
    out.tensor("a", &[5; 12]).unwrap();
    out.tensor("b", &[6; 72]).unwrap();
    let file = out.finish().unwrap();
    assert_eq!(file.len() % 32, 0);
    let gguf = Gguf::parse(&file, &Limits::default()).unwrap();
    assert_eq!(gguf.tensor("a").unwrap().data(&file), Some(&[5; 12][..]));
    assert_eq!(gguf.tensor("b").unwrap().data(&file), Some(&[6; 72][..]));
    assert_eq!(gguf.tensor("b").unwrap().dims, [64, 2]);
}

#[test]
fn the_same_declarations_give_the_same_bytes() {
    assert_eq!(draft().build(), draft().build());
}

#[test]
fn refuses_duplicates_bad_names_and_other_alignments() {
    let mut writer = Writer::new();
    writer.kv("k", 1u32).unwrap();
    assert!(matches!(writer.kv("k", 2u32), Err(WriteError::DuplicateKey { .. })));
    assert!(matches!(writer.kv("", 2u32), Err(WriteError::BadName { .. })));
    assert!(matches!(writer.kv("general.alignment", 64u32), Err(WriteError::BadAlignment)));
    writer.tensor("t", &[1], GgmlType::F32).unwrap();
    assert!(matches!(writer.tensor("t", &[1], GgmlType::F32), Err(WriteError::DuplicateTensor { .. })));
    assert!(matches!(writer.tensor(&"t".repeat(64), &[1], GgmlType::F32), Err(WriteError::BadName { .. })));
}

#[test]
fn refuses_shapes_that_the_type_cannot_hold() {
    let mut writer = Writer::new();
    for dims in [&[][..], &[0], &[31], &[32, 1, 1, 1, 1], &[usize::MAX - 31, 32]] {
        assert!(
            matches!(writer.tensor("t", dims, GgmlType::Q8_0), Err(WriteError::BadShape { .. })),
            "{dims:?}"
        );
    }
}

#[test]
fn refuses_data_out_of_order_of_another_size_or_missing() {
    let declared = || {
        let mut writer = Writer::new();
        writer.tensor("a", &[1], GgmlType::F32).unwrap();
        writer.tensor("b", &[1], GgmlType::F32).unwrap();
        writer.write_header(Vec::new()).unwrap()
    };
    assert!(matches!(declared().tensor("b", &[0; 4]), Err(WriteError::WrongOrder { .. })));
    assert!(matches!(
        declared().tensor("a", &[0; 5]),
        Err(WriteError::WrongSize { expected: 4, found: 5, .. })
    ));
    let mut out = declared();
    out.tensor("a", &[0; 4]).unwrap();
    assert!(matches!(out.finish(), Err(WriteError::Unfinished { missing: 1, .. })));
    let mut out = declared();
    out.tensor("a", &[0; 4]).unwrap();
    out.tensor("b", &[0; 4]).unwrap();
    assert!(matches!(out.tensor("c", &[0; 4]), Err(WriteError::Undeclared { .. })));
}
