//! The attack corpus: for every published GGUF flaw a small file that would have triggered it, and the rule that
//! stops it here. The files are committed in `fixtures/gguf-attacks` (they are fuzzing seeds too) and are exactly what
//! this code makes; `CHIMERA_BLESS=1` writes them again.
use crate::raw_gguf::{BOOL, F32, I32, Q4_0, RawGguf, STRING, U8, U32, U64, gguf, string};
use chimera_engine::{EngineError, LoadOptions, Model};
use chimera_gguf::{Gguf, GgufError as E, Limits};
use std::path::{Path, PathBuf};

struct Attack {
    /// File name without `.gguf`.
    name: &'static str,
    /// Where the flaw was published.
    origin: &'static str,
    file: Vec<u8>,
    /// Whether this is the error the file must give.
    stopped: fn(&E) -> bool,
}

fn attack(name: &'static str, origin: &'static str, file: RawGguf, stopped: fn(&E) -> bool) -> Attack {
    Attack { name, origin, file: file.build(), stopped }
}

/// Attacks on the counts and lengths of the header and the keys.
fn on_metadata() -> Vec<Attack> {
    let key = || gguf().key(b"general.name", STRING, &string(b"x"));
    let long = |n: u64| gguf().key(b"general.name", STRING, &n.to_le_bytes());
    vec![
        attack("n_kv_max", "CVE-2024-25664, CVE-2024-23605", key().n_kv(u64::MAX), |e| {
            matches!(e, E::TooManyKeys { count: u64::MAX, .. })
        }),
        attack("n_kv_beyond_file", "CVE-2026-7482", key().n_kv(4000), |e| {
            matches!(e, E::CountExceedsFile { .. })
        }),
        attack("n_tensors_max", "CVE-2024-25665, CVE-2024-21836", key().n_tensors(u64::MAX), |e| {
            matches!(e, E::TooManyTensors { count: u64::MAX, .. })
        }),
        attack("n_tensors_times_overhead", "llama.cpp 15711", key().n_tensors(1 << 56), |e| {
            matches!(e, E::TooManyTensors { .. })
        }),
        attack("n_tensors_beyond_file", "CVE-2024-12055", key().n_tensors(60_000), |e| {
            matches!(e, E::CountExceedsFile { .. })
        }),
        attack("string_length_max", "CVE-2024-25666, CVE-2024-23496", long(u64::MAX), |e| {
            matches!(e, E::StringTooLong { len: u64::MAX, .. })
        }),
        attack("string_length_i32", "CVE-2025-49847", long(1 << 31), |e| {
            matches!(e, E::StringTooLong { .. })
        }),
        attack("string_beyond_file", "CVE-2024-39720", long(1000), |e| matches!(e, E::Truncated { .. })),
        attack(
            "array_length_max",
            "CVE-2024-25667, CVE-2024-21825",
            gguf().array(b"a", I32, u64::MAX, &[0; 16]),
            |e| matches!(e, E::ArrayTooLong { len: u64::MAX, .. }),
        ),
        attack(
            "array_length_times_size",
            "CVE-2024-21825",
            gguf().array(b"a", U64, 1 << 61, &[0; 16]),
            |e| matches!(e, E::ArrayTooLong { .. }),
        ),
        attack(
            "array_of_strings_bomb",
            "candle 3533, CVE-2025-66960",
            gguf().array(b"a", STRING, 1 << 22, &[0; 64]),
            |e| matches!(e, E::CountExceedsFile { min_bytes: 8, .. }),
        ),
        attack("array_of_bytes_bomb", "candle 3533", gguf().array(b"a", U8, 1 << 22, &[0; 64]), |e| {
            matches!(e, E::CountExceedsFile { min_bytes: 1, .. })
        }),
        attack("array_nested", "gguf-py 27188, mlx 4212", nested(64), |e| matches!(e, E::NestedArray { .. })),
        attack("bool_not_0_or_1", "undefined behaviour of a C bool", gguf().key(b"b", BOOL, &[7]), |e| {
            matches!(e, E::BadBool { found: 7, .. })
        }),
        attack("value_type_unknown", "llama.cpp 26690", gguf().key(b"a", 99, &[0; 8]), |e| {
            matches!(e, E::UnknownValueType { id: 99, .. })
        }),
        attack(
            "key_twice",
            "a parser differential",
            key().key(b"general.name", STRING, &string(b"y")),
            |e| matches!(e, E::DuplicateKey { .. }),
        ),
        attack("key_with_nul", "a parser differential", gguf().key(b"a\0b", U8, &[0; 8]), |e| {
            matches!(e, E::BadName { .. })
        }),
        attack("string_not_utf8", "lossy strings", gguf().key(b"a", STRING, &string(&[0xff, 0xfe])), |e| {
            matches!(e, E::NotUtf8 { .. })
        }),
    ]
}

/// `depth` arrays, each the only element of the one before.
fn nested(depth: usize) -> RawGguf {
    let level = [&9u32.to_le_bytes()[..], &1u64.to_le_bytes()].concat();
    gguf().key(b"a", 9, &level.repeat(depth))
}

/// Attacks on the shape, type and place of tensors.
fn on_tensors() -> Vec<Attack> {
    let one = |dims: &[u64]| gguf().tensor(b"t", dims, F32, 0).data(32);
    let at = |offset: u64| gguf().tensor(b"t", &[8], F32, offset).data(32);
    let too_large: fn(&E) -> bool = |e| matches!(e, E::TensorTooLarge { .. });
    vec![
        attack("dims_wrap_to_zero", "llama.cpp 19072, candle 3712", one(&[1 << 42, 1 << 22]), too_large),
        attack("dims_wrap_to_small", "CVE-2024-21802", one(&[1 << 32, (1 << 32) + 1]), too_large),
        attack("dims_max", "CVE-2026-53923", one(&[u64::MAX; 4]), too_large),
        attack("dims_negative", "llama.cpp 18586", one(&[1 << 63]), too_large),
        attack("dim_zero", "llama.cpp 18586", one(&[8, 0]), |e| matches!(e, E::ZeroDim { axis: 1, .. })),
        attack("no_dims", "llama.cpp 19856", one(&[]), |e| matches!(e, E::BadDimCount { n_dims: 0, .. })),
        attack("five_dims", "CVE-2024-25668", one(&[1; 5]), |e| {
            matches!(e, E::BadDimCount { n_dims: 5, .. })
        }),
        attack("size_sum_wraps", "CVE-2025-53630, CVE-2026-27940", size_sum(), |e| {
            matches!(e, E::TensorOutOfFile { .. })
        }),
        attack("type_unknown", "CVE-2024-32878", gguf().tensor(b"t", &[32], 77, 0).data(32), |e| {
            matches!(e, E::UnknownGgmlType { id: 77, .. })
        }),
        attack(
            "row_not_whole_blocks",
            "llama.cpp 19072",
            gguf().tensor(b"t", &[33], Q4_0, 0).data(32),
            |e| matches!(e, E::RowNotBlocks { .. }),
        ),
        attack("offset_max", "CVE-2025-53630", at(u64::MAX - 31), |e| matches!(e, E::BadOffset { .. })),
        attack("offset_beyond_file", "CVE-2026-7482", at(1 << 40), |e| matches!(e, E::BadOffset { .. })),
        attack("offset_not_aligned", "undefined behaviour of a cast", at(4), |e| {
            matches!(e, E::BadOffset { .. })
        }),
        attack("data_cut_off", "CVE-2026-7482", gguf().tensor(b"t", &[64], F32, 0).data(32), |e| {
            matches!(e, E::TensorOutOfFile { .. })
        }),
        attack("tensors_overlap", "safetensors audit 2023", two_tensors(0), |e| {
            matches!(e, E::BadOffset { .. })
        }),
        attack("hole_between_tensors", "safetensors audit 2023", two_tensors(64), |e| {
            matches!(e, E::BadOffset { .. })
        }),
        attack(
            "tensor_twice",
            "candle 3712",
            gguf().tensor(b"t", &[8], F32, 0).tensor(b"t", &[8], F32, 32).data(64),
            |e| matches!(e, E::DuplicateTensor { .. }),
        ),
        attack(
            "tensor_name_long",
            "a fixed buffer of 64 bytes",
            gguf().tensor(&[b't'; 64], &[8], F32, 0).data(32),
            |e| matches!(e, E::StringTooLong { len: 64, .. }),
        ),
    ]
}

/// Two tensors whose sizes add up to 2^44 bytes in a file of a few.
fn size_sum() -> RawGguf {
    gguf().tensor(b"a", &[1 << 40], F32, 0).tensor(b"b", &[1 << 40], F32, 1 << 42).data(32)
}

fn two_tensors(second: u64) -> RawGguf {
    gguf().tensor(b"a", &[8], F32, 0).tensor(b"b", &[8], F32, second).data(96)
}

/// Attacks on the file as a whole.
fn on_the_file() -> Vec<Attack> {
    let aligned = |n: u32| gguf().key(b"general.alignment", U32, &n.to_le_bytes());
    let small = || gguf().tensor(b"t", &[8], F32, 0).data(32);
    vec![
        Attack {
            name: "empty",
            origin: "CVE-2025-0312",
            file: vec![],
            stopped: |e| matches!(e, E::Truncated { .. }),
        },
        Attack {
            name: "four_bytes",
            origin: "CVE-2024-39720",
            file: b"GGUF".into(),
            stopped: |e| matches!(e, E::Truncated { .. }),
        },
        attack("other_magic", "a foreign file", small().magic(b"GGML"), |e| matches!(e, E::BadMagic { .. })),
        attack("big_endian", "byte order", small().version(3u32.swap_bytes()), |e| {
            matches!(e, E::UnsupportedVersion { .. })
        }),
        attack("version_1", "the format's past", small().version(1), |e| {
            matches!(e, E::UnsupportedVersion { found: 1 })
        }),
        attack("alignment_zero", "llama.cpp 24997, candle 3712", aligned(0), |e| {
            matches!(e, E::BadAlignment { found: 0 })
        }),
        attack("alignment_huge", "CVE-2025-0317, llama.cpp 26318", aligned(u32::MAX), |e| {
            matches!(e, E::BadAlignment { .. })
        }),
        attack(
            "alignment_as_string",
            "llama.cpp 26690",
            gguf().key(b"general.alignment", STRING, &string(b"32")),
            |e| matches!(e, E::AlignmentType { .. }),
        ),
        attack("polyglot_tail", "safetensors audit 2023", small().tail(b"PK\x05\x06"), |e| {
            matches!(e, E::TrailingBytes { .. })
        }),
        attack(
            "polyglot_padding",
            "safetensors audit 2023",
            gguf().tensor(b"t", &[1], F32, 0).data(4).tail(&[1; 28]),
            |e| matches!(e, E::PaddingNotZero { .. }),
        ),
    ]
}

fn corpus() -> Vec<Attack> {
    [on_metadata(), on_tensors(), on_the_file()].into_iter().flatten().collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/gguf-attacks")
}

#[test]
fn every_attack_is_stopped_by_its_rule() {
    for attack in corpus() {
        match Gguf::parse(&attack.file, &Limits::default()) {
            Ok(_) => panic!("{} ({}) was accepted", attack.name, attack.origin),
            Err(e) => assert!((attack.stopped)(&e), "{} ({}) gave {e:?}", attack.name, attack.origin),
        }
    }
}

#[test]
fn the_engine_refuses_every_attack_with_a_typed_error() {
    for attack in corpus() {
        let path = folder().join(attack.name).with_extension("gguf");
        let found = Model::load(&path, &LoadOptions::default()).map(|_| ()).expect_err(attack.name);
        let typed = matches!(found, EngineError::ModelMalformed { .. } | EngineError::ModelUnreadable { .. });
        assert!(typed, "{}: {found:?}", attack.name);
    }
}

#[test]
fn the_committed_corpus_is_what_the_code_makes() {
    let bless = std::env::var_os("CHIMERA_BLESS").is_some();
    let attacks = corpus();
    for attack in &attacks {
        let path = folder().join(attack.name).with_extension("gguf");
        if bless {
            std::fs::write(&path, &attack.file).unwrap();
        }
        assert_eq!(std::fs::read(&path).unwrap(), attack.file, "{}", path.display());
        assert!(attack.file.len() < 2000, "{} is not small", attack.name);
    }
    let files = std::fs::read_dir(folder())
        .unwrap()
        .filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|x| x == "gguf"));
    assert_eq!(files.count(), attacks.len(), "a file that no attack makes");
}
