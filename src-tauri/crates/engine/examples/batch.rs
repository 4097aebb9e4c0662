//! How much faster sequences are stepped together than one alone, and what the size of a prompt's chunks costs; alternating
//! in one process. With one thread on Linux it is that thread's time on the processor, which other load on the machine does
//! not stretch; else the time that passes.
//!
//!     cargo run --release -p chimera-engine --example batch -- MODEL.gguf [SEQUENCES] [THREADS]
use chimera_engine::{Feed, LoadOptions, Model, Session};
use std::sync::Arc;
use std::time::Instant;

const PROMPT: usize = 512;
const STEPS: usize = 16;
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: batch MODEL.gguf [SEQUENCES] [THREADS]")?;
    let most = arguments.next().map_or(Ok(8), |n| n.parse::<usize>())?;
    let threads = arguments.next().map_or(Ok(0), |n| n.parse())?;
    let model = Model::load(path.as_ref(), &LoadOptions { threads, ..LoadOptions::default() })?;
    let mut sessions: Vec<Session> = (0..most).map(|_| Session::new(Arc::clone(&model))).collect();
    let clock = Clock { own_thread: threads == 1, start: Instant::now() };
    let sizes: Vec<usize> = [1, 2, 4, 8, 16, 32].into_iter().filter(|n| *n <= most).collect();
    let mut best = vec![f64::INFINITY; sizes.len()];
    for _ in 0..ROUNDS {
        for (n, best) in sizes.iter().zip(&mut best) {
            let seconds = time(&model, &clock, &mut sessions[..*n])?;
            *best = best.min(seconds / (STEPS * n) as f64);
        }
    }
    for (n, seconds) in sizes.iter().zip(&best) {
        println!("{n:3} together: {:8.1} tokens/s, {:.2} times one", 1.0 / seconds, best[0] / seconds);
    }
    for rows in [64, 128, 192, 256] {
        let mut best = f64::INFINITY;
        for _ in 0..3 {
            best = best.min(read_prompt(&model, &clock, rows)?);
        }
        println!("prompt of {PROMPT} in chunks of {rows:3}: {:8.1} tokens/s", PROMPT as f64 / best);
    }
    Ok(())
}

struct Clock {
    own_thread: bool,
    start: Instant,
}

impl Clock {
    fn seconds(&self) -> f64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok().filter(|_| self.own_thread);
        let on_cpu = text.and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
        on_cpu.map_or_else(|| self.start.elapsed().as_secs_f64(), |nanoseconds| nanoseconds as f64 * 1e-9)
    }
}

fn read_prompt(model: &Arc<Model>, clock: &Clock, rows: usize) -> Result<f64, Box<dyn std::error::Error>> {
    let tokens: Vec<u32> = (0..PROMPT as u32).map(|i| 300 + i * 7 % 1000).collect();
    let mut session = Session::new(Arc::clone(model));
    let start = clock.seconds();
    for tokens in tokens.chunks(rows) {
        let mut feeds = [Feed { session: &mut session, tokens, logits: false }];
        model.read_together(&mut feeds).into_iter().collect::<Result<(), _>>()?;
    }
    Ok(clock.seconds() - start)
}

fn time(model: &Model, clock: &Clock, sessions: &mut [Session]) -> Result<f64, Box<dyn std::error::Error>> {
    let start = clock.seconds();
    for i in 0..STEPS as u32 {
        let tokens = [300 + i * 7];
        let feeds = sessions.iter_mut().map(|session| Feed { session, tokens: &tokens, logits: true });
        model.read_together(&mut feeds.collect::<Vec<_>>()).into_iter().collect::<Result<(), _>>()?;
    }
    Ok(clock.seconds() - start)
}
