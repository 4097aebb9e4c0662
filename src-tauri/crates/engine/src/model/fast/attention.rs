//! Grouped-query attention over everything a sequence has read so far.
use super::{FastNet, Part, Scratch, Segment};
use crate::kernels::{self, Activation, KernelError, PackedMatrix};

pub(in crate::model) struct Attention {
    /// Index into `State::kv`.
    pub at: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub scale: f32,
    pub q_ad: Projection,
    pub k_cd: Projection,
    pub v_cd: Projection,
    pub out_da: Projection,
}

pub(in crate::model) struct Projection {
    pub weight: PackedMatrix,
    /// Empty: none.
    pub bias: Vec<f32>,
}

impl Projection {
    fn run(&self, net: &FastNet, input: &Activation, out: &mut Vec<f32>) -> Result<(), KernelError> {
        net.product(&self.weight, input, out)?;
        if !self.bias.is_empty() {
            let rows = out.chunks_exact_mut(self.bias.len());
            rows.for_each(|row| row.iter_mut().zip(&self.bias).for_each(|(y, b)| *y += b));
        }
        Ok(())
    }
}

impl Part for Attention {
    fn run(&self, net: &FastNet, segments: &mut [Segment<'_>], t: &mut Scratch) -> Result<(), KernelError> {
        self.q_ad.run(net, &t.input, &mut t.a)?;
        self.k_cd.run(net, &t.input, &mut t.b)?;
        self.v_cd.run(net, &t.input, &mut t.c)?;
        t.wide.begin(t.input.m(), self.heads * self.head_dim);
        self.mix(net, segments, t)?;
        t.wide.quantize(net.tier, &net.pool);
        self.out_da.run(net, &t.wide, &mut t.a)
    }
}

impl Attention {
    /// From queries `t.a`, keys `t.b` and values `t.c` to `t.wide`.
    fn mix(&self, net: &FastNet, segments: &mut [Segment<'_>], t: &mut Scratch) -> Result<(), KernelError> {
        let (tier, pool) = (net.tier, &net.pool);
        if let Some(table) = &t.rope {
            let starts: Vec<_> =
                segments.iter().map(|s| kernels::Segment { rows: s.rows(), state: s.start() }).collect();
            kernels::rope_norm(pool, table, &mut t.a, self.head_dim, self.heads, &starts)?;
            kernels::rope_norm(pool, table, &mut t.b, self.head_dim, self.kv_heads, &starts)?;
        }
        let mut caches = Vec::new();
        for segment in segments {
            caches.push(kernels::Segment { rows: segment.rows(), state: &mut segment.state.kv[self.at] });
        }
        kernels::append_all(tier, pool, &mut caches, &t.b, &t.c)?;
        let caches: Vec<_> =
            caches.iter().map(|s| kernels::Segment { rows: s.rows.clone(), state: &*s.state }).collect();
        kernels::attention(tier, pool, &t.a, self.heads, &caches, self.scale, t.wide.values_mut())
    }
}
