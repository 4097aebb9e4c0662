//! A pass over the network, for the rows of one sequence or of many.
use super::{FastNet, Scratch, State};
use crate::TokenId;
use crate::kernels::{self, Activation, KernelError, PackedMatrix, RopeTable};
use crate::model::sequence::Rows;
use std::ops::Range;
use std::sync::{MutexGuard, PoisonError};

/// Neighbouring rows of a pass that belong to one sequence.
pub(in crate::model) struct Segment<'a> {
    pub state: &'a mut State,
    pub tokens: &'a [TokenId],
    /// Whose logits may be asked for afterwards.
    keep: Rows,
    /// Where the tokens stand among the rows of the pass; `FastNet::read` fills it in.
    rows: Range<usize>,
}

impl<'a> Segment<'a> {
    pub fn new(state: &'a mut State, tokens: &'a [TokenId], keep: Rows) -> Self {
        Self { state, tokens, keep, rows: 0..0 }
    }

    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// The position of the first row in its sequence.
    pub fn start(&self) -> usize {
        self.state.position
    }
}

impl FastNet {
    pub fn d_model(&self) -> usize {
        self.output_norm_d.len()
    }

    /// Advances every segment's state by its tokens. After an error the states are unspecified.
    pub fn read(&self, segments: &mut [Segment<'_>]) -> Result<(), KernelError> {
        let t = &mut *self.scratch();
        let (mut m, mut positions) = (0, 0);
        for segment in segments.iter_mut() {
            segment.rows = m..m + segment.tokens.len();
            m = segment.rows.end;
            positions = positions.max(segment.start() + segment.tokens.len());
        }
        self.embed(segments, &mut t.x_md)?;
        self.grow_rope(positions, &mut t.rope);
        for block in &self.blocks {
            self.norm(&t.x_md, &block.norm_d, &mut t.input);
            block.part.run(self, segments, t)?;
            // x += residual_scale · y
            kernels::add_scaled(self.tier, &self.pool, &mut t.x_md, &t.a, self.scales.residual);
        }
        self.keep(segments, &t.x_md);
        Ok(())
    }

    /// For each pair, the logits `[n, V]` of the n rows `x_nd` that a pass has left: one product for all of them.
    pub fn logits(&self, wanted: &mut [(&[f32], &mut Vec<f32>)]) -> Result<(), KernelError> {
        let t = &mut *self.scratch();
        t.x_md.clear();
        wanted.iter().for_each(|(x_nd, _)| t.x_md.extend_from_slice(x_nd));
        self.norm(&t.x_md, &self.output_norm_d, &mut t.input);
        let head_vd = self.head_vd.as_ref().unwrap_or(&self.embedding_vd);
        if let [(_, out)] = wanted {
            self.product(head_vd, &t.input, out)?;
        } else {
            self.product(head_vd, &t.input, &mut t.a)?;
            let mut rows_v = t.a.chunks_exact(head_vd.rows());
            for (x_nd, out) in wanted.iter_mut() {
                out.clear();
                rows_v.by_ref().take(x_nd.len() / self.d_model()).for_each(|row_v| out.extend(row_v));
            }
        }
        if self.scales.logit != 1.0 {
            wanted.iter_mut().flat_map(|(_, out)| out.iter_mut()).for_each(|v| *v /= self.scales.logit);
        }
        Ok(())
    }

    /// A part of an earlier pass may have panicked: buffers hold nothing that outlives a pass.
    fn scratch(&self) -> MutexGuard<'_, Scratch> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn embed(&self, segments: &[Segment<'_>], x_md: &mut Vec<f32>) -> Result<(), KernelError> {
        let (d, scale) = (self.d_model(), self.scales.embedding);
        let tokens = segments.iter().flat_map(|s| s.tokens);
        x_md.resize(segments.last().map_or(0, |s| s.rows.end) * d, 0.0);
        for (token, row_d) in tokens.zip(x_md.chunks_exact_mut(d)) {
            self.embedding_vd.dequantize_row(*token as usize, row_d)?;
            if scale != 1.0 {
                row_d.iter_mut().for_each(|v| *v *= scale);
            }
        }
        Ok(())
    }

    /// Moves the sequences on, and leaves in each the rows that it may be asked about.
    fn keep(&self, segments: &mut [Segment<'_>], x_md: &[f32]) {
        let d = self.d_model();
        for Segment { state, keep, rows, .. } in segments {
            let first = if *keep == Rows::All { rows.start } else { rows.end.saturating_sub(1) };
            state.x_md.clear();
            state.x_md.extend_from_slice(&x_md[first * d..rows.end * d]);
            state.position += rows.len();
        }
    }

    /// h = x / sqrt(mean(x²) + eps) · w, quantized once for every product that reads it.
    fn norm(&self, x_md: &[f32], weight_d: &[f32], h: &mut Activation) {
        let d = weight_d.len();
        let out_md = h.begin(x_md.len() / d, d);
        kernels::rms_norm(self.tier, &self.pool, x_md, weight_d, self.scales.eps, out_md);
        h.quantize(self.tier, &self.pool);
    }

    /// `out [m, rows of w] = input · wᵀ`.
    pub fn product(
        &self,
        w: &PackedMatrix,
        input: &Activation,
        out: &mut Vec<f32>,
    ) -> Result<(), KernelError> {
        out.resize(input.m() * w.rows(), 0.0);
        kernels::matmul(&self.pool, w, input, out)
    }

    /// Makes the table long enough; it doubles, so that a long context costs its cosines only when it is used.
    fn grow_rope(&self, positions: usize, table: &mut Option<RopeTable>) {
        let Some(spec) = &self.rope else { return };
        if table.as_ref().is_none_or(|t| t.positions() < positions) {
            *table = Some(RopeTable::new(&spec.inv_freq, spec.magnitude, rope_positions(positions)));
        }
    }
}

/// How many positions the table has when `positions` are needed.
pub(in crate::model) fn rope_positions(positions: usize) -> usize {
    const FIRST: usize = 512;
    positions.next_power_of_two().max(FIRST)
}
