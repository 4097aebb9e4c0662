//! Integer products in plain Rust: the yardstick of the SIMD ones, and the only path on CPUs without them.
use super::super::bytes::cast;
use super::super::pack::{Q4_TILE, Q6_SUPER, Q6_TILE, Q8_TILE, TILE_SCALES, packed_q6};
use super::super::simd::{LANES, f16_to_f32};
use super::Job;
use std::ops::Range;

type Lanes<T> = [T; LANES];

pub(super) fn q4_0(job: &Job, panels: Range<usize>) {
    each_output(job, panels, |panel, i| {
        let mut acc = [0.0; LANES];
        for (b, quants) in job.act.quants(i).chunks_exact(32).enumerate() {
            let tile = &panel[b / 2 * Q4_TILE..][..Q4_TILE];
            let vectors = &tile[TILE_SCALES + b % 2 * 256..][..256];
            let mut dot = [-8 * block_sum(job, i, b); LANES];
            for (j, vector) in vectors.chunks_exact(64).enumerate() {
                dot4(&mut dot, vector, &quants[4 * j..], |w| i32::from(w & 15));
                dot4(&mut dot, vector, &quants[16 + 4 * j..], |w| i32::from(w >> 4));
            }
            add_scaled(
                &mut acc,
                &dot,
                &cast::<u16>(&tile[..TILE_SCALES])[b % 2 * LANES..],
                job.act.scales(i)[b],
            );
        }
        acc
    });
}

pub(super) fn q8_0(job: &Job, panels: Range<usize>) {
    each_output(job, panels, |panel, i| {
        let mut acc = [0.0; LANES];
        for (b, quants) in job.act.quants(i).chunks_exact(32).enumerate() {
            let tile = &panel[b / 2 * Q8_TILE..][..Q8_TILE];
            let vectors = &tile[TILE_SCALES + b % 2 * 512..][..512];
            let mut dot = [0; LANES];
            for (j, vector) in vectors.chunks_exact(64).enumerate() {
                dot4(&mut dot, vector, &quants[4 * j..], |w| i32::from(w as i8));
            }
            add_scaled(
                &mut acc,
                &dot,
                &cast::<u16>(&tile[..TILE_SCALES])[b % 2 * LANES..],
                job.act.scales(i)[b],
            );
        }
        acc
    });
}

pub(super) fn q6_k(job: &Job, panels: Range<usize>) {
    let supers = job.w.cols() / 256;
    each_output(job, panels, |panel, i| {
        let mut acc = [0.0; LANES];
        for (b, quants) in job.act.quants(i).chunks_exact(256).enumerate() {
            let tile = &panel[b * Q6_TILE..][..Q6_TILE];
            let mut sum = [0.0; LANES];
            for (s, quants) in quants.chunks_exact(16).enumerate() {
                for (r, sum) in sum.iter_mut().enumerate() {
                    let term =
                        |(k, q): (usize, &i8)| (i32::from(packed_q6(tile, s, k, r)) - 32) * i32::from(*q);
                    let dot: i32 = quants.iter().enumerate().map(term).sum();
                    *sum += (dot * i32::from(tile[s * LANES + r] as i8)) as f32
                        * job.act.scales(i)[b * 8 + s / 2];
                }
            }
            add_scaled_f32(
                &mut acc,
                &sum,
                &cast::<u16>(&panel[supers * Q6_TILE + b * Q6_SUPER..][..Q6_SUPER]),
            );
        }
        acc
    });
}

fn each_output(job: &Job, panels: Range<usize>, product: impl Fn(&[u8], usize) -> Lanes<f32>) {
    for panel in panels {
        for i in 0..job.act.m() {
            let acc = product(job.w.panel(panel), i);
            let out = job.out(i, panel);
            out.copy_from_slice(&acc[..out.len()]);
        }
    }
}

fn block_sum(job: &Job, i: usize, block: usize) -> i32 {
    let sums = job.act.sums(i);
    sums[2 * block] + sums[2 * block + 1]
}

#[inline(always)]
fn dot4(dot: &mut Lanes<i32>, vector: &[u8], quants: &[i8], weight: impl Fn(u8) -> i32) {
    for (dot, w) in dot.iter_mut().zip(vector.chunks_exact(4)) {
        for (w, q) in w.iter().zip(quants) {
            *dot += weight(*w) * i32::from(*q);
        }
    }
}

fn add_scaled(acc: &mut Lanes<f32>, dot: &Lanes<i32>, scales: &[u16], activation_scale: f32) {
    for ((acc, dot), d) in acc.iter_mut().zip(dot).zip(scales) {
        *acc += *dot as f32 * (f16_to_f32(*d) * activation_scale);
    }
}

fn add_scaled_f32(acc: &mut Lanes<f32>, sum: &Lanes<f32>, scales: &[u16]) {
    for ((acc, sum), d) in acc.iter_mut().zip(sum).zip(scales) {
        *acc += sum * f16_to_f32(*d);
    }
}
