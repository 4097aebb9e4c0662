//! The hot path: quantized products, norms, convolution, scan, rotation and attention, per CPU tier, on one pool of threads.
mod activation;
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
mod simd;
#[cfg(test)]
mod tests;
mod tier;

pub use activation::Activation;
pub use attention::attention;
pub use conv::{CONV_STATE, CONV_WIDTH, ConvWeights, conv_silu};
pub use elementwise::{add_scaled, gated_rms_norm, rms_norm, silu_mul, softplus};
pub use error::KernelError;
pub use kv::{KvCache, KvType};
pub use matmul::matmul;
pub use pack::{PackedMatrix, WeightType};
pub use pool::Pool;
pub use rope::{RopeTable, rope_norm};
pub use rows::Rows;
pub use scan::{SsmShape, SsmWeights, ssm_scan};
pub use tier::CpuTier;
