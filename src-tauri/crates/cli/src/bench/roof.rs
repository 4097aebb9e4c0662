//! The bandwidth roof: how fast the same number of threads just reads as many bytes as one token needs.
use std::hint::black_box;
use std::time::Instant;

/// Words read before the sums are looked at; several sums, so that additions do not wait for each other.
const LANES: usize = 32;

const PASSES: usize = 5;

pub struct Roof {
    words: Vec<u64>,
    threads: usize,
}

impl Roof {
    /// A buffer of `bytes`, every page of it written.
    pub fn new(bytes: usize, threads: usize) -> Self {
        Self { words: (0..bytes as u64 / 8).collect(), threads: threads.max(1) }
    }

    pub fn bytes(&self) -> usize {
        self.words.len() * 8
    }

    /// Bytes a second of the best of a few passes by all threads: a roof is what is possible.
    pub fn measure(&self) -> f64 {
        (0..PASSES).map(|_| self.pass()).fold(0.0, f64::max)
    }

    fn pass(&self) -> f64 {
        let chunk = self.words.len().div_ceil(self.threads).max(1);
        let start = Instant::now();
        std::thread::scope(|scope| {
            self.words.chunks(chunk).for_each(|part| {
                scope.spawn(move || black_box(sum(part)));
            });
        });
        self.bytes() as f64 / start.elapsed().as_secs_f64()
    }
}

fn sum(words: &[u64]) -> u64 {
    let mut sums = [0u64; LANES];
    let (chunks, rest) = words.as_chunks::<LANES>();
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, word)| *sum = sum.wrapping_add(*word));
    }
    sums.iter().chain(rest).fold(0, |total, n| total.wrapping_add(*n))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read() {
        let roof = Roof::new(8 * 1001, 3);
        assert_eq!(sum(&roof.words), 1000 * 1001 / 2);
        assert!(roof.measure() > 0.0);
    }
}
