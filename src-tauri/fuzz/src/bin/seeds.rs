//! Writes the first inputs of every target to `corpus/` (or the directory that is named).
use chimera_engine::{CancelFlag, Session, write_snapshots};
use chimera_fuzz::mini;
use chimera_gguf::{GgmlType, Gguf, Limits, Writer};
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = std::env::args_os().nth(1).map_or_else(|| here.join("corpus"), PathBuf::from);
    let attacks = here.join("../../tests/fixtures/gguf-attacks");
    let mini = mini::file("{{ messages }}");
    for target in ["header", "tensor_views"] {
        put(&corpus, target, "mini", &mini)?;
        for file in std::fs::read_dir(&attacks)? {
            let path = file?.path();
            if path.extension().is_some_and(|e| e == "gguf") {
                put(&corpus, target, &path.file_stem().unwrap_or_default().to_string_lossy(), &std::fs::read(&path)?)?;
            }
        }
    }
    put(&corpus, "header", "no_tensors", &keys_alone(&mini)?)?;
    put(&corpus, "tensor_table", "mini", &table(&mini)?)?;
    put(&corpus, "tensor_table", "every_type", &every_type()?)?;
    put(&corpus, "snapshot", "three", &snapshots()?)?;
    Ok(())
}

fn put(corpus: &Path, target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let dir = corpus.join(target);
    std::fs::create_dir_all(&dir)?;
    Ok(std::fs::write(dir.join(name), bytes)?)
}

fn keys_alone(file: &[u8]) -> Result<Vec<u8>> {
    let mut writer = Writer::new();
    for (key, value) in Gguf::parse(file, &Limits::default())?.metadata() {
        writer.kv(key, value.clone())?;
    }
    Ok(writer.write_header(Vec::new())?.finish()?)
}

/// The tensors of `file` as the target `tensor_table` wants them: their number, then all that follows the header.
fn table(file: &[u8]) -> Result<Vec<u8>> {
    let gguf = Gguf::parse(file, &Limits::default())?;
    let shapes = gguf.tensors().iter().map(|t| (t.name.clone(), t.dims.clone(), t.dtype));
    table_of(&shapes.collect::<Vec<_>>())
}

fn every_type() -> Result<Vec<u8>> {
    let shapes = GgmlType::ALL.iter().enumerate().map(|(i, t)| (format!("t{i}"), vec![t.block_len(), 2], *t));
    table_of(&shapes.collect::<Vec<_>>())
}

fn table_of(shapes: &[(String, Vec<usize>, GgmlType)]) -> Result<Vec<u8>> {
    let mut writer = Writer::new();
    let sizes = shapes.iter().map(|(n, d, t)| writer.tensor(n, d, *t)).collect::<std::result::Result<Vec<_>, _>>()?;
    let mut out = writer.write_header(Vec::new())?;
    for ((name, ..), bytes) in shapes.iter().zip(sizes) {
        out.tensor(name, &vec![1; bytes])?;
    }
    let file = out.finish()?;
    Ok([&[u8::try_from(shapes.len())?][..], &file[24..]].concat())
}

/// Three snapshots of one sequence: after 5, 9 and 20 tokens.
fn snapshots() -> Result<Vec<u8>> {
    let mut session = Session::new(mini::model());
    let mut kept = Vec::new();
    for tokens in [&[5; 5][..], &[9, 10, 11, 12], &[40; 11]] {
        session.prefill(tokens, &CancelFlag::default(), &mut |_, _| {})?;
        kept.insert(0, session.snapshot()?);
    }
    let mut out = Vec::new();
    write_snapshots(&kept, &mut out)?;
    Ok(out)
}
