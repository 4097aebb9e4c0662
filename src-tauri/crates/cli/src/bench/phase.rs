//! The phases of a comparison, their samples, and the budget of time they share.
use super::protocol::Answer;
use std::time::Instant;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Decode,
    Prefill64,
    FirstToken,
    Prefill512,
    Prefill2048,
    DecodeDeep,
}

/// Cheap ones first: on a slow machine the last may be left out.
pub const PHASES: [Phase; 6] = [
    Phase::Decode,
    Phase::Prefill64,
    Phase::FirstToken,
    Phase::Prefill512,
    Phase::Prefill2048,
    Phase::DecodeDeep,
];

impl Phase {
    pub const DEPTH_STEPS: usize = 32;

    pub const fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Prefill64 => "prefill_64",
            Self::FirstToken => "first_token",
            Self::Prefill512 => "prefill_512",
            Self::Prefill2048 => "prefill_2048",
            Self::DecodeDeep => "decode_4096",
        }
    }

    /// Tokens read in one round.
    pub const fn reads(self) -> usize {
        match self {
            Self::Decode | Self::DecodeDeep => 0,
            Self::Prefill64 | Self::FirstToken => 64,
            Self::Prefill512 => 512,
            Self::Prefill2048 => 2048,
        }
    }

    /// Tokens written in one round.
    pub const fn steps(self) -> usize {
        match self {
            Self::Decode => 64,
            Self::DecodeDeep => Self::DEPTH_STEPS,
            _ => 0,
        }
    }

    /// Tokens whose time a sample is; none for a time that is reported as it is.
    pub const fn tokens(self) -> Option<usize> {
        match self {
            Self::FirstToken => None,
            phase => Some(phase.reads() + phase.steps()),
        }
    }
}

/// Seconds of each round, by side.
#[derive(Default, Debug)]
pub struct Samples {
    pub ours: Vec<f64>,
    pub theirs: Vec<f64>,
    pub our_cpu: Vec<f64>,
    pub their_cpu: Vec<f64>,
}

impl Samples {
    pub fn push(&mut self, ours: &Answer, theirs: &Answer) {
        self.ours.push(ours.seconds);
        self.theirs.push(theirs.seconds);
        self.our_cpu.extend(ours.cpu_seconds);
        self.their_cpu.extend(theirs.cpu_seconds);
    }
}

pub struct Budget {
    start: Instant,
    seconds: f64,
}

impl Budget {
    pub fn new(seconds: u32) -> Self {
        Self { start: Instant::now(), seconds: f64::from(seconds) }
    }
    pub const fn seconds(&self) -> f64 {
        self.seconds
    }
    pub fn used(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }
    /// A twentieth is kept for what comes after the last phase.
    pub fn left(&self) -> f64 {
        0.95 * self.seconds - self.used()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_phase_measures_tokens_or_a_time() {
        let tokens: Vec<_> = PHASES.iter().map(|p| p.tokens()).collect();
        assert_eq!(tokens, [Some(64), Some(64), None, Some(512), Some(2048), Some(32)]);
    }
}
