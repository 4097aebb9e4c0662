//! The tile registers in plain Rust, as the manual's pseudocode has them, so that layouts and tails are tested on any CPU.
use super::super::simd::bf16_to_f32;
use super::tiles::Tiles;
use super::{Line, TILE_LINES};

type Register = [Line; TILE_LINES];

pub(in crate::kernels) struct Emulated([Register; 8]);

fn floats(line: &Line) -> [f32; 16] {
    std::array::from_fn(|j| f32::from_bits(u32::from(line.0[2 * j]) | u32::from(line.0[2 * j + 1]) << 16))
}

fn line(floats: [f32; 16]) -> Line {
    let bits = floats.map(f32::to_bits);
    Line(std::array::from_fn(|i| (bits[i / 2] >> (i % 2 * 16)) as u16))
}

/// One row of C. Even and odd k have sums of their own, which meet at the end; every step is one fused operation.
fn row(c: &Line, a: &Line, b: &Register) -> Line {
    let (mut even, mut odd) = ([0.0f32; 16], [0.0f32; 16]);
    for (k, b) in b.iter().enumerate() {
        let (x, y) = (bf16_to_f32(a.0[2 * k]), bf16_to_f32(a.0[2 * k + 1]));
        for j in 0..16 {
            even[j] = x.mul_add(bf16_to_f32(b.0[2 * j]), even[j]);
            odd[j] = y.mul_add(bf16_to_f32(b.0[2 * j + 1]), odd[j]);
        }
    }
    let c = floats(c);
    line(std::array::from_fn(|j| c[j] + (even[j] + odd[j])))
}

impl Tiles for Emulated {
    unsafe fn configure() -> Self {
        Emulated([[Line::ZERO; TILE_LINES]; 8])
    }
    fn zero<const T: usize>(&mut self) {
        self.0[T] = [Line::ZERO; TILE_LINES];
    }
    fn load<const T: usize>(&mut self, from: &[Line; TILE_LINES]) {
        self.0[T] = *from;
    }
    fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
        for i in 0..TILE_LINES {
            self.0[C][i] = row(&self.0[C][i], &self.0[A][i], &self.0[B]);
        }
    }
    unsafe fn store<const T: usize>(&mut self, to: *mut f32, stride: usize) {
        for (i, line) in self.0[T].iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe { to.add(i * stride).cast::<[f32; 16]>().write_unaligned(floats(line)) };
        }
    }
}
