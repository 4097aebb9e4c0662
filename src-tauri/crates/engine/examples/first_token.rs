//! Times what a person waits for: load, first token of a prompt, then decoding.
//!
//!     cargo run --release -p chimera-engine --example first_token -- MODEL.gguf [PROMPT_TOKENS] [THREADS]
use chimera_engine::{CancelFlag, LoadOptions, Model, Session};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let start = Instant::now();
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: first_token MODEL.gguf [PROMPT_TOKENS] [THREADS]")?;
    let prompt = arguments.next().map_or(Ok(64), |n| n.parse::<usize>())?;
    let threads = arguments.next().map_or(Ok(0), |n| n.parse())?;
    let model = Model::load(path.as_ref(), &LoadOptions { threads, ..LoadOptions::default() })?;
    let info = model.info();
    println!("{} {} on {} with {} threads", info.name, info.quantization, info.cpu_tier, info.threads);
    println!("load           {:8.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let prompt: Vec<u32> = (0..prompt as u32).map(|i| 300 + i * 7 % 1000).collect();
    let mut session = Session::new(model);
    let reading = Instant::now();
    session.prefill(&prompt, &CancelFlag::default(), &mut |_, _| {})?;
    let seconds = reading.elapsed().as_secs_f64();
    println!("prefill        {:8.1} ms, {:.0} tokens/s", seconds * 1e3, prompt.len() as f64 / seconds);
    println!("first token at {:8.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let decoding = Instant::now();
    const STEPS: usize = 64;
    for i in 0..STEPS {
        session.step(300 + i as u32)?;
    }
    let seconds = decoding.elapsed().as_secs_f64();
    println!(
        "decode         {:8.2} ms a token, {:.0} tokens/s",
        seconds * 1e3 / STEPS as f64,
        STEPS as f64 / seconds
    );
    Ok(())
}
