//! What opening a conversation again costs, at three lengths.
//! `cargo run --release -p chimera-chat --example reopen -- [MODEL [THREADS [TOKENS]]]`
use chimera_chat::snapshots::measure_reopening;
use chimera_engine::{LoadOptions, Model};
use std::path::Path;

const STARTER: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../../assets/models/chimera-starter-q4_0.gguf");

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args.first().map_or(STARTER, String::as_str);
    let threads = args.get(1).map_or(Ok(1), |n| n.parse())?;
    let tokens = args.get(2).map_or(Ok(4000), |n| n.parse())?;
    let model = Model::load(Path::new(path), &LoadOptions { threads, ..LoadOptions::default() })?;
    let info = model.info();
    println!("{} · {} · {threads} thread(s) · {}", info.name, info.cpu_tier, &model.sha256()[..12]);
    for tokens in [tokens / 4, tokens / 2, tokens] {
        let dir = tempfile::tempdir()?;
        let found = measure_reopening(&model, dir.path(), tokens, 5)?;
        println!(
            "{tokens:>5} tokens: file {:.2} MB, read again {:.0} ms, reopened {:.1} ms (of it restoring {:.1}): {:.2} %",
            found.file_bytes as f64 / 1e6,
            found.again_ms,
            found.reopened_ms,
            found.restored_ms,
            found.ratio() * 100.0
        );
    }
    Ok(())
}
