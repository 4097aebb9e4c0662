//! Feed-forward networks.
use super::{FastNet, Part, Scratch, Segment};
use crate::kernels::{self, KernelError, PackedMatrix};

/// down(silu(gate·g) · (up·g)).
pub(in crate::model) struct SwiGlu {
    pub gate_fd: PackedMatrix,
    pub up_fd: PackedMatrix,
    pub down_df: PackedMatrix,
}

impl Part for SwiGlu {
    fn run(&self, net: &FastNet, _: &mut [Segment<'_>], t: &mut Scratch) -> Result<(), KernelError> {
        net.product(&self.gate_fd, &t.input, &mut t.b)?;
        net.product(&self.up_fd, &t.input, &mut t.c)?;
        let y_mf = t.wide.begin(t.input.m(), self.up_fd.rows());
        kernels::silu_mul(net.tier, &net.pool, &t.b, &t.c, y_mf);
        t.wide.quantize(net.tier, &net.pool);
        net.product(&self.down_df, &t.wide, &mut t.a)
    }
}
