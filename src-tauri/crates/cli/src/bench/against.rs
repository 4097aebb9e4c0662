//! `chimera bench --against llama.cpp`: both on one file, in turn, phase by phase, within a budget of time.
use super::memory;
use super::peer::{self, CONFIGURATIONS, Configuration, Peer};
use super::phase::{Budget, PHASES, Phase, Samples};
use super::protocol::{Answer, Order, Side};
use super::report::{self, Comparison, Tried};
use super::roof::Roof;
use crate::args::BenchArgs;
use crate::error::CliError;
use chimera_engine::Model;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Prompt of the first token.
const FIRST_TOKEN_PROMPT: usize = 64;
/// What a configuration of llama.cpp is judged by.
const TRIAL_READ: usize = 256;
const TRIAL_STEPS: usize = 16;
/// Share of the budget that trying one configuration may take, or the others are not tried.
const TRIAL_SHARE: f64 = 0.08;
/// Tokens after a reopened conversation.
const REOPEN_TOKENS: usize = 16;
/// At the depth, before the first round: the first pages of the new length.
const WARM_STEPS: usize = 2;
const SEQUENCES: usize = 8;
const BATCH_STEPS: usize = 16;

pub struct Bench<'a> {
    pub args: &'a BenchArgs,
    pub path: &'a Path,
    pub peer: Peer,
    pub configuration: Configuration,
    /// Positions that both sides have room for.
    context: usize,
    /// Of the phase `decode_4096`.
    pub depth: usize,
    pub threads: usize,
    pub ours: Side,
    pub theirs: Side,
    pub roof: Roof,
    pub budget: Budget,
}

pub fn run(args: &BenchArgs, path: &Path) -> Result<(), CliError> {
    let named = args.peer.clone().or_else(|| std::env::var_os("CHIMERA_LLAMA_CPP").map(PathBuf::from));
    let peer = peer::find(named.as_deref())?;
    let budget = Budget::new(args.budget);
    let load_average = memory::load_average();
    // Loaded here first, so that a bad file is reported as what it is; and dropped, as its memory is the children's.
    let (info, sha256) = {
        let model = Model::load(path, &args.model.load_options())?;
        (model.info().clone(), model.sha256().to_owned())
    };
    let rounds = args.repeats as usize;
    let beyond = rounds * Phase::DEPTH_STEPS + WARM_STEPS + REOPEN_TOKENS;
    let depth = (args.depth as usize).min(info.context_length.saturating_sub(beyond)).max(1);
    let context = (depth + beyond).max(2048 + 64).min(info.context_length);
    let (theirs, answer, tried) = choose(&peer, path, info.threads, context, &budget)?;
    let configuration = tried.iter().find(|t| t.chosen).map_or(CONFIGURATIONS[0], |t| t.configuration);
    let mut bench = Bench {
        args,
        path,
        configuration,
        context,
        depth,
        threads: info.threads,
        ours: our_side(args)?,
        theirs,
        roof: Roof::new(info.file_bytes as usize, info.threads),
        budget,
        peer,
    };
    let threads = bench.threads;
    bench.ours.order(&configuration.load(path, threads, context))?;
    let mut comparison = Comparison::new(&info, sha256, answer, tried, load_average);
    bench.measure(&mut comparison)?;
    report::print(&comparison.finish(&bench), args.json)
}

fn our_side(args: &BenchArgs) -> Result<Side, CliError> {
    let mut command = Command::new(std::env::current_exe().map_err(|e| probe(e.to_string()))?);
    command.args(["bench", "--worker", "--backend", args.model.backend.name()]);
    command.args(args.model.cpu.iter().flat_map(|tier| ["--cpu", tier]));
    Side::start(command, probe)
}

fn probe(reason: String) -> CliError {
    CliError::Probe { reason }
}

/// The fastest working configuration, loaded: the least time for 512 tokens read and 64 written, from a short trial.
fn choose(
    peer: &Peer,
    path: &Path,
    threads: usize,
    context: usize,
    budget: &Budget,
) -> Result<(Side, Answer, Vec<Tried>), CliError> {
    let mut tried: Vec<Tried> = Vec::new();
    let mut best: Option<(f64, Side, Answer)> = None;
    let mut failure = None;
    for configuration in CONFIGURATIONS {
        let start = Instant::now();
        let outcome = peer.loaded(path, threads, context, configuration).and_then(|(mut side, answer)| {
            let (read, step) = trial(&mut side)?;
            Ok((side, answer, read, step))
        });
        match outcome {
            Ok((side, answer, read, step)) => {
                let score = 512.0 * read + 64.0 * step;
                tried.push(Tried::worked(configuration, read, step));
                if best.as_ref().is_none_or(|(known, ..)| score < *known) {
                    tried.iter_mut().for_each(|t| t.chosen = t.configuration == configuration);
                    best = Some((score, side, answer));
                }
            }
            Err(error) => {
                tried.push(Tried::failed(configuration, &error));
                failure = Some(error);
            }
        }
        if best.is_some() && start.elapsed().as_secs_f64() > TRIAL_SHARE * budget.seconds() {
            break;
        }
    }
    match best {
        Some((_, side, answer)) => Ok((side, answer, tried)),
        None => Err(failure.unwrap_or(CliError::PeerFailed { reason: "no configuration".to_owned() })),
    }
}

/// Seconds a token read and a token written.
fn trial(side: &mut Side) -> Result<(f64, f64), CliError> {
    // The first pass warms up.
    side.order(&Order::Read { tokens: 32, afresh: true })?;
    let read = side.order(&Order::Read { tokens: TRIAL_READ, afresh: true })?.seconds;
    let step = side.order(&Order::Step { tokens: TRIAL_STEPS })?.seconds;
    Ok((read / TRIAL_READ as f64, step / TRIAL_STEPS as f64))
}

impl Bench<'_> {
    fn measure(&mut self, out: &mut Comparison) -> Result<(), CliError> {
        trial(&mut self.ours)?;
        for (i, phase) in PHASES.iter().enumerate() {
            let share = self.budget.left() / (PHASES.len() - i) as f64;
            if phase.reads() > self.context {
                out.leave_out(*phase, "the model's context is shorter");
                continue;
            }
            let expected = self.expected(*phase, out);
            if expected > self.budget.left() {
                out.leave_out(*phase, &format!("one round needs about {expected:.0} s"));
                continue;
            }
            let samples = self.rounds(*phase, share, out)?;
            out.add(*phase, samples, self.args.repeats as usize);
        }
        out.ours_memory = self.ours.order(&Order::Memory)?.peak_rss_bytes;
        let theirs = self.theirs.order(&Order::Memory)?;
        out.peer_python = theirs.before_bytes;
        out.peer_memory = theirs.peak_rss_bytes.map(|peak| peak - theirs.before_bytes.unwrap_or(0));
        // After the peaks: what only one side does may not count there.
        self.extras(out)
    }

    /// Seconds that one round of `phase` will take, from what was measured before.
    fn expected(&self, phase: Phase, out: &Comparison) -> f64 {
        let tokens = match phase {
            Phase::DecodeDeep => self.depth + 4 * Phase::DEPTH_STEPS,
            phase => phase.reads(),
        };
        out.seconds_a_token_read() * tokens as f64
    }

    /// As many rounds as were asked for, or as fit into `share` seconds; one at least.
    fn rounds(&mut self, phase: Phase, share: f64, out: &mut Comparison) -> Result<Samples, CliError> {
        let mut samples = Samples::default();
        let start = Instant::now();
        if phase == Phase::DecodeDeep {
            self.descend(out)?;
        }
        let setup = start.elapsed().as_secs_f64();
        for round in 0..self.args.repeats as usize {
            let used = start.elapsed().as_secs_f64();
            let one = if round == 0 { 0.0 } else { (used - setup) / round as f64 };
            if round > 0 && used + one > share {
                break;
            }
            let ours_first = round % 2 == 0;
            let mut pair = [None, None];
            for ours in [ours_first, !ours_first] {
                pair[usize::from(ours)] = Some(self.once(phase, ours)?);
            }
            if let [Some(theirs), Some(ours)] = pair {
                samples.push(&ours, &theirs);
            }
            if matches!(phase, Phase::Decode | Phase::DecodeDeep) {
                out.roofs.push(self.roof.measure());
            }
        }
        Ok(samples)
    }

    /// One measurement of one side.
    fn once(&mut self, phase: Phase, ours: bool) -> Result<Answer, CliError> {
        if phase == Phase::FirstToken {
            return self.first_token(ours);
        }
        let side = if ours { &mut self.ours } else { &mut self.theirs };
        match phase {
            Phase::Decode => {
                side.order(&Order::Read { tokens: 1, afresh: true })?;
                side.order(&Order::Step { tokens: phase.steps() })
            }
            Phase::DecodeDeep => side.order(&Order::Step { tokens: phase.steps() }),
            _ => side.order(&Order::Read { tokens: phase.reads(), afresh: true }),
        }
    }

    /// Both sides read up to the depth; our time is what reopening saves.
    fn descend(&mut self, out: &mut Comparison) -> Result<(), CliError> {
        let read = Order::Read { tokens: self.depth, afresh: true };
        out.reread_s = Some(self.ours.order(&read)?.seconds);
        self.theirs.order(&read)?;
        self.ours.order(&Order::Step { tokens: WARM_STEPS })?;
        self.theirs.order(&Order::Step { tokens: WARM_STEPS })?;
        Ok(())
    }

    /// Ours from the start of the process; theirs from just before its library is opened, as Python is not llama.cpp's.
    fn first_token(&mut self, ours: bool) -> Result<Answer, CliError> {
        let order = self.configuration.load(self.path, self.threads, FIRST_TOKEN_PROMPT + 64);
        let start = Instant::now();
        let mut side = if ours { our_side(self.args)? } else { self.peer.start()? };
        side.order(&order)?;
        let mut answer = side.order(&Order::Read { tokens: FIRST_TOKEN_PROMPT, afresh: true })?;
        let from_start = start.elapsed().as_secs_f64();
        answer.seconds = answer.since_library_s.unwrap_or(from_start);
        // The processor time of the read alone means nothing here.
        answer.cpu_seconds = None;
        Ok(answer)
    }

    /// What only we have: many sequences at once, and reopening from a file.
    fn extras(&mut self, out: &mut Comparison) -> Result<(), CliError> {
        if out.reread_s.is_some() {
            out.reopen_s = Some(self.ours.order(&Order::Reopen { tokens: REOPEN_TOKENS })?.seconds);
        }
        if self.budget.left() > 0.0 {
            let together = Order::Together { sequences: SEQUENCES, tokens: BATCH_STEPS };
            let one = Order::Together { sequences: 1, tokens: BATCH_STEPS };
            for _ in 0..self.args.repeats {
                let alone = self.ours.order(&one)?.seconds;
                let all = self.ours.order(&together)?.seconds;
                out.batch.push(SEQUENCES as f64 * alone / all);
            }
        }
        Ok(())
    }
}
