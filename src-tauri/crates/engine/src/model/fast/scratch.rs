//! Buffers of a pass, reused from pass to pass and from sequence to sequence.
use super::experts::Route;
use crate::kernels::{Activation, RopeTable};

#[derive(Default)]
pub(in crate::model) struct Scratch {
    /// The residual stream `[m, d]`.
    pub x_md: Vec<f32>,
    /// Normed rows, the input of a part's first products.
    pub input: Activation,
    /// The wider input of the projection back.
    pub wide: Activation,
    /// Where a part leaves its output `[m, d]`; before that, for its own use, as are `b` and `c`.
    pub a: Vec<f32>,
    pub b: Vec<f32>,
    pub c: Vec<f32>,
    /// Output `[m, d]` of what runs beside the part that `a` is for.
    pub side: Vec<f32>,
    /// Which rows go to which expert, and the rows of one of them.
    pub routes: Vec<Route>,
    pub gathered: Activation,
    /// Long enough for every position of the pass.
    pub rope: Option<RopeTable>,
}
