//! What can go wrong in a kernel: shapes that do not fit. Checked at the call, never inside the loops.
use super::WeightType;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KernelError {
    #[error("{dtype:?} weights need columns in multiples of {multiple}, got {cols}")]
    Columns { dtype: WeightType, cols: usize, multiple: usize },
    #[error("{dtype:?} matrix {rows}x{cols} takes {expected} bytes, got {actual}")]
    Bytes { dtype: WeightType, rows: usize, cols: usize, expected: usize, actual: usize },
    #[error("a matrix needs at least one row and one column, got {rows}x{cols}")]
    Empty { rows: usize, cols: usize },
    #[error("no memory for {bytes} bytes of weights")]
    OutOfMemory { bytes: usize },
    #[error("{what}: expected {expected} values, got {actual}")]
    Length { what: &'static str, expected: usize, actual: usize },
    #[error("row {row} of a matrix of {rows} rows")]
    Row { row: usize, rows: usize },
    #[error("the segments of a call of {rows} rows do not go on at row {at}")]
    Segments { rows: usize, at: usize },
    #[error("the activation was not quantized after it was last written")]
    NotQuantized,
    #[error("head size {head_dim} is not a multiple of {multiple}")]
    HeadDim { head_dim: usize, multiple: usize },
    #[error("{heads} heads do not split evenly into {groups} groups")]
    Groups { heads: usize, groups: usize },
}

/// `Err(Length)` unless `actual == expected`.
pub(super) fn check_len(what: &'static str, expected: usize, actual: usize) -> Result<(), KernelError> {
    if expected == actual { Ok(()) } else { Err(KernelError::Length { what, expected, actual }) }
}
