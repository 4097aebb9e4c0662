//! The hot path: quantized products, norms, convolution, scan, rotation and attention, per CPU tier, on one pool of threads.
//!
//! # How it is built
//! - Kernels are written once over sixteen lanes (`simd`) and instantiated for each [`CpuTier`]: plain Rust, NEON, AVX2,
//!   AVX-VNNI, AVX-512 VNNI; AMX multiplies many rows its own way (`amx`).
//!   No kernel depends on `target-cpu`; `dispatch` asks the CPU before it enters a `#[target_feature]` function.
//! - Weights are repacked once, in the bits they have in the file (`pack`); activations are quantized once and shared by
//!   several products ([`Activation`]).
//! - Every output is one sum in one order. The number of threads, the number of rows in a call and the cutting of a prompt
//!   into calls change no bit of any product, scan, convolution or attention row (tested); the tier changes rounding only.
//!   One exception: on the tier `amx` products of 16 rows and more are rounded otherwise than those of fewer (`amx`), so
//!   there a prompt's cutting changes bits where it leaves a call of fewer than 16 rows.
//! - A call takes the rows of any number of sequences ([`Segment`]) as one job of the pool; what else is in the call changes no
//!   bit either (tested).
//!
//! # What was measured
//! AMD EPYC (Zen 4), one thread by its CPU time, the machine under heavy load by others, so read ratios and orders of size.
//! - Decode is at the memory's speed: Q4_0 29 GB/s of weights and Q6_K 23 GB/s, where plain reads give 20 to 31. From cache the
//!   same loops run at 73 and 59 GB/s (AVX-512), 49 and 30 GB/s (AVX2).
//! - Against this module's plain Rust on the same CPU: Q4_0 decode 28 times (AVX2 28), prefill 50 to 70 times (AVX2 30).
//! - What costs bandwidth: software prefetch (Q4_0 18 to 13 GB/s; only Q6_K on AVX2 gains by it, from far ahead), two panels at once (29 to 15), the two-bit tops of Q6_K in
//!   a region of their own (23 to 10), 4 kB pages (29 to 26 for Q4_0, 31 to 15 for F32).
//! - From cache, 4096×1024, GB/s of weights for one row, then GFLOP/s for 8 and 48 rows. AVX-512: Q4_0 67, 350, 314; Q8_0 77, 324,
//!   285; Q4_K 49, 291, 273; Q5_K 44, 271, 243; Q6_K 42, 169, 151. AVX2: Q4_0 45, 199, 175; Q8_0 55, 123, 121; Q4_K 34, 137, 171;
//!   Q5_K 28, 160, 144; Q6_K 29, 118, 110. AVX-VNNI has not been timed.
//! - Tiles of one panel and four rows are as fast as or faster than two panels and six on AVX-512 (8 rows: Q4_0 11%, Q8_0 24%,
//!   Q5_K 30%; 48 rows: equal to 14%); on AVX2 eight rows against four: Q4_0 33%, Q6_K 22%,
//!   Q5_K 15% more, Q4_K 7% less; 48 rows 12 to 23% more; Q8_0 and the floats keep four.
//! - All 512 rows through a panel before the next cost a third; 48 at a time cost nothing.
//! - Scan 11 to 13 µs a token and layer (H 24, P 64, N 128), four tokens a pass over the state: 36,900 vector operations, most of
//!   what one FMA of 512 bits a cycle allows. dt and dA on vectors instead of scalars: prefill 1.02 times on AVX-512, 1.2 on AVX2.
//! - Attention 9.5 µs a token and layer at 256 positions, 180 µs at 4096 (12 heads, f16 keys): 387,000 FMAs, so the multipliers,
//!   not memory, are the limit. Tiles of six rows by one vector (AVX2) or four (AVX-512), on keys widened once for 24 rows, against
//!   four rows by two: prefill 1.6 to 1.7 times on AVX2, 0.9 to 1.1 on AVX-512; decode 1.0 and 1.0 to 1.2. Keys and values of eight
//!   bits: decode at 4096 1.16 times, for an error of less than a hundredth. More needs cheaper products (bf16, int8).
//! - AMX (Xeon of the Sapphire Rapids kind, a shared machine, best of 7): Q4_0 4096×1024 at 32, 64, 128 and 512 rows 0.49, 0.72,
//!   0.98 and 1.07 TFLOP/s on one thread, where AVX-512 VNNI has 0.40 to 0.45. By medians 1.2, 1.6, 2.3 and 2.0 times as fast;
//!   Q6_K and F16 3 to 4 times from 64 rows. Unpacking took 0.36 ms of these (a third at 128 rows) before it was put between the
//!   multiplications.
//! - A closure over vectors that LLVM does not inline loses the target features: silu ran 35 times slower (`simd`).
//!
//! # Not here yet
//! NEON's i8mm; Q2_K, Q3_K and the IQ types; the chunked form of the scan (it would change bits with the chunking).
// Loops over the rows, panels and vectors of a register tile have constant lengths and index several arrays at once: written
// so, they unroll and the arrays become registers.
#![allow(clippy::needless_range_loop)]

mod activation;
#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod bytes;
mod conv;
mod elementwise;
mod error;
mod kv;
mod matmul;
mod pack;
mod pool;
mod rope;
mod rows;
mod scan;
mod segments;
mod simd;
#[cfg(test)]
mod tests;
mod tier;

pub use activation::Activation;
pub use attention::attention;
pub use conv::{CONV_STATE, CONV_WIDTH, ConvWeights, conv_silu};
pub use elementwise::{add_scaled, gate, gated_rms_norm, rms_norm, silu_mul};
pub use error::KernelError;
pub use kv::{KvCache, KvType, append_all};
pub use matmul::matmul;
pub use pack::{PackedMatrix, WeightType};
pub use pool::Pool;
pub use rope::{RopeTable, rope_norm};
pub use rows::Rows;
pub use scan::{SsmShape, SsmWeights, ssm_scan};
pub use segments::Segment;
pub use tier::CpuTier;

/// The size of a head, in attention and in the scan, is a multiple of this.
pub const HEAD_MULTIPLE: usize = simd::LANES;
