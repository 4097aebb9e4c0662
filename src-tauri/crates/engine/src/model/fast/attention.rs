//! Grouped-query attention over everything a sequence has read so far.
use super::{FastNet, Part, Scratch, Segment};
use crate::kernels::{self, KernelError, PackedMatrix};

pub(in crate::model) struct Attention {
    /// Index into `State::kv`.
    pub at: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub scale: f32,
    pub q_ad: PackedMatrix,
    pub k_cd: PackedMatrix,
    pub v_cd: PackedMatrix,
    pub out_da: PackedMatrix,
}

impl Part for Attention {
    fn run(&self, net: &FastNet, segments: &mut [Segment<'_>], t: &mut Scratch) -> Result<(), KernelError> {
        net.product(&self.q_ad, &t.input, &mut t.a)?;
        net.product(&self.k_cd, &t.input, &mut t.b)?;
        net.product(&self.v_cd, &t.input, &mut t.c)?;
        t.wide.begin(t.input.m(), self.heads * self.head_dim);
        self.mix(net, segments, t)?;
        t.wide.quantize(net.tier, &net.pool);
        net.product(&self.out_da, &t.wide, &mut t.a)
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
