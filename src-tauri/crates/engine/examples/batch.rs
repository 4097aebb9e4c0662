//! How much faster sequences are stepped together than one alone, alternating in one process.
//!
//!     cargo run --release -p chimera-engine --example batch -- MODEL.gguf [SEQUENCES] [THREADS]
use chimera_engine::{Feed, LoadOptions, Model, Session};
use std::sync::Arc;
use std::time::Instant;

const STEPS: usize = 16;
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: batch MODEL.gguf [SEQUENCES] [THREADS]")?;
    let most = arguments.next().map_or(Ok(8), |n| n.parse::<usize>())?;
    let threads = arguments.next().map_or(Ok(0), |n| n.parse())?;
    let model = Model::load(path.as_ref(), &LoadOptions { threads, ..LoadOptions::default() })?;
    let mut sessions: Vec<Session> = (0..most).map(|_| Session::new(Arc::clone(&model))).collect();
    let sizes: Vec<usize> = [1, 2, 4, 8, 16, 32].into_iter().filter(|n| *n <= most).collect();
    let mut best = vec![f64::INFINITY; sizes.len()];
    for _ in 0..ROUNDS {
        for (n, best) in sizes.iter().zip(&mut best) {
            let seconds = time(&model, &mut sessions[..*n])?;
            *best = best.min(seconds / (STEPS * n) as f64);
        }
    }
    for (n, seconds) in sizes.iter().zip(&best) {
        println!("{n:3} together: {:8.1} tokens/s, {:.2} times one", 1.0 / seconds, best[0] / seconds);
    }
    Ok(())
}

fn time(model: &Model, sessions: &mut [Session]) -> Result<f64, Box<dyn std::error::Error>> {
    let start = Instant::now();
    for i in 0..STEPS as u32 {
        let tokens = [300 + i * 7];
        let feeds = sessions.iter_mut().map(|session| Feed { session, tokens: &tokens, logits: true });
        model.read_together(&mut feeds.collect::<Vec<_>>()).into_iter().collect::<Result<(), _>>()?;
    }
    Ok(start.elapsed().as_secs_f64())
}
