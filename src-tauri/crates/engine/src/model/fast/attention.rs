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
        for segment in segments {
            self.mix(net, segment, t)?;
        }
        t.wide.quantize(net.tier, &net.pool);
        net.product(&self.out_da, &t.wide, &mut t.a)
    }
}

impl Attention {
    /// One sequence's rows of queries `t.a`, keys `t.b` and values `t.c`, to `t.wide`.
    fn mix(&self, net: &FastNet, segment: &mut Segment<'_>, t: &mut Scratch) -> Result<(), KernelError> {
        let (rows, start) = (segment.rows(), segment.start());
        let (a, c) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let q = &mut t.a[rows.start * a..rows.end * a];
        let k = &mut t.b[rows.start * c..rows.end * c];
        let v = &t.c[rows.start * c..rows.end * c];
        if let Some(table) = &t.rope {
            kernels::rope_norm(&net.pool, table, q, self.head_dim, self.heads, start)?;
            kernels::rope_norm(&net.pool, table, k, self.head_dim, self.kv_heads, start)?;
        }
        let cache = &mut segment.state.kv[self.at];
        cache.append(k, v)?;
        let y = &mut t.wide.values_mut()[rows.start * a..rows.end * a];
        kernels::attention(net.tier, &net.pool, q, self.heads, cache, self.scale, y)
    }
}
