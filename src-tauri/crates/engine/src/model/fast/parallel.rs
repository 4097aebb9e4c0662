//! Mamba-2 and attention side by side on one normed input (Falcon-H1): their outputs are added.
use super::{Attention, FastNet, Mamba, Part, Scratch, Segment};
use crate::kernels::{self, KernelError};

pub(in crate::model) struct Parallel {
    pub mamba: Mamba,
    pub attention: Attention,
}

impl Part for Parallel {
    fn run(&self, net: &FastNet, segments: &mut [Segment<'_>], t: &mut Scratch) -> Result<(), KernelError> {
        self.mamba.run(net, segments, t)?;
        std::mem::swap(&mut t.a, &mut t.side);
        self.attention.run(net, segments, t)?;
        kernels::add_scaled(net.tier, &net.pool, &mut t.a, &t.side, 1.0);
        Ok(())
    }
}
