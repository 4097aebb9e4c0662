//! Feed-forward networks.
use super::{FastNet, Part, Scratch, Segment};
use crate::kernels::{self, Activation, KernelError, PackedMatrix};

/// down(silu(gate·g) · (up·g)).
pub(in crate::model) struct SwiGlu {
    pub gate_fd: PackedMatrix,
    pub up_fd: PackedMatrix,
    pub down_df: PackedMatrix,
}

impl Part for SwiGlu {
    fn run(&self, net: &FastNet, _: &mut [Segment<'_>], t: &mut Scratch) -> Result<(), KernelError> {
        self.apply(net, &t.input, &mut t.wide, [&mut t.b, &mut t.c, &mut t.a])
    }
}

impl SwiGlu {
    /// Through the buffers of gate and up, and `wide`, to the last of `buffers`.
    pub fn apply(
        &self,
        net: &FastNet,
        input: &Activation,
        wide: &mut Activation,
        [gate, up, out]: [&mut Vec<f32>; 3],
    ) -> Result<(), KernelError> {
        net.product(&self.gate_fd, input, gate)?;
        net.product(&self.up_fd, input, up)?;
        let y_mf = wide.begin(input.m(), self.up_fd.rows());
        kernels::silu_mul(net.tier, &net.pool, gate, up, y_mf);
        wide.quantize(net.tier, &net.pool);
        net.product(&self.down_df, wide, out)
    }
}

/// down(relu(up·g)²).
pub(in crate::model) struct SquaredRelu {
    pub up_fd: PackedMatrix,
    pub down_df: PackedMatrix,
}

impl Part for SquaredRelu {
    fn run(&self, net: &FastNet, _: &mut [Segment<'_>], t: &mut Scratch) -> Result<(), KernelError> {
        net.product(&self.up_fd, &t.input, &mut t.b)?;
        let y_mf = t.wide.begin(t.input.m(), self.up_fd.rows());
        const RUN: usize = 8192;
        let up_mf = &t.b;
        net.pool.run_mut(y_mf, RUN, |chunk, y| {
            let up = &up_mf[chunk * RUN..][..y.len()];
            y.iter_mut().zip(up).for_each(|(y, up)| *y = up.max(0.0) * up.max(0.0));
        });
        t.wide.quantize(net.tier, &net.pool);
        net.product(&self.down_df, &t.wide, &mut t.a)
    }
}
