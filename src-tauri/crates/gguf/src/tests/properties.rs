//! No input makes the parser panic, and what it accepts can be read to the last byte.
use super::fixture::{Raw, draft, two_tensors};
use crate::{GgmlType, Gguf, Limits, ValidModel};
use proptest::prelude::*;

/// Parses; on success reads every tensor's bytes and checks that the ranges neither overlap nor leave the file.
fn touch(file: &[u8]) {
    let Ok(gguf) = Gguf::parse(file, &Limits::default()) else { return };
    let mut end = 0;
    let mut sum = 0u64;
    for tensor in gguf.tensors() {
        let bytes = tensor.data(file).expect("a range of an accepted file is inside it");
        sum = bytes.iter().fold(sum, |sum, &b| sum.wrapping_add(b.into()));
        assert!(tensor.range.start >= end, "ranges follow each other");
        assert_eq!(tensor.range.len(), tensor.dtype.tensor_bytes(&tensor.dims).unwrap());
        assert_eq!(tensor.range.start % 32, 0);
        end = tensor.range.end;
    }
    std::hint::black_box(sum);
    let _ = ValidModel::from_gguf(gguf);
}

/// A number at most two away from a power of two.
fn near_power_of_two() -> impl Strategy<Value = u64> {
    (0u32..64, -2i64..=2).prop_map(|(k, d)| (1u64 << k).wrapping_add_signed(d))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn dims_near_powers_of_two_are_sized_right_or_rejected(
        dims in prop::collection::vec(near_power_of_two(), 1..=4),
        type_index in 0..GgmlType::ALL.len(),
        data in 0usize..400,
    ) {
        let dtype = GgmlType::ALL[type_index];
        let file = Raw::default().tensor("a", &dims, dtype.id(), 0).data(data).build();
        touch(&file);
        // The size, in arithmetic that cannot wrap.
        let blocks = dims.iter().try_fold(1u128, |p, &n| p.checked_mul(n.into())).map(|n| n / dtype.block_len() as u128);
        let exact = blocks.and_then(|b| b.checked_mul(dtype.block_bytes() as u128));
        if let Ok(gguf) = Gguf::parse(&file, &Limits::default()) {
            prop_assert_eq!(Some(gguf.tensors()[0].range.len() as u128), exact);
        }
    }

    #[test]
    fn counts_and_offsets_near_powers_of_two_never_panic(
        n_kv in near_power_of_two(), n_tensors in near_power_of_two(), offset in near_power_of_two(),
    ) {
        touch(&Raw { n_kv: Some(n_kv), ..two_tensors() }.build());
        touch(&Raw { n_tensors: Some(n_tensors), ..two_tensors() }.build());
        touch(&Raw::default().tensor("a", &[8], 0, offset).data(64).build());
    }

    #[test]
    fn lengths_near_powers_of_two_never_panic(len in near_power_of_two(), element in 0u32..14, tail in 0usize..64) {
        let value = [&element.to_le_bytes()[..], &len.to_le_bytes(), &vec![1; tail]].concat();
        touch(&Raw::default().key("k", 9, &value).build());
        touch(&Raw::default().key("k", 8, &value[4..]).build());
    }

    #[test]
    fn random_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..300)) {
        touch(&tail);
        touch(&[b"GGUF\x03\0\0\0", &tail[..]].concat());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn mutated_bytes_never_panic(edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut file = two_tensors().build();
        for (at, byte) in &edits {
            let at = at.index(file.len());
            file[at] = *byte;
        }
        touch(&file);
    }

    #[test]
    fn a_mutated_model_never_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut file = draft().build();
        // The first 10 kB hold the metadata; the tensor data is not interpreted.
        let header = file.len().min(10_000);
        for (at, byte) in &edits {
            file[at.index(header)] = *byte;
        }
        touch(&file);
        touch(&file[..cut.index(file.len())]);
    }
}
