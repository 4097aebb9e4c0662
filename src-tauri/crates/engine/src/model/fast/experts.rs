//! A mixture of experts: every row goes through its best few feed-forward networks.
use super::{FastNet, Part, Scratch, Segment, SwiGlu};
use crate::kernels::{KernelError, PackedMatrix};

/// Every row goes through its `used` best experts, weighted by the softmax of the scores of these alone (the softmax of
/// all, taken from the best and made to sum to 1, is the same), and through the shared one. Rows of one expert are gathered,
/// so that its weights are read once for all of them.
pub(in crate::model) struct Experts {
    pub used: usize,
    pub router_xd: PackedMatrix,
    pub experts: Vec<SwiGlu>,
    pub shared: Option<SwiGlu>,
}

/// A row, an expert of its choice, and what that expert's word is worth.
#[derive(Clone, Copy, Debug)]
pub(in crate::model) struct Route {
    expert: usize,
    row: usize,
    weight: f32,
}

impl Part for Experts {
    fn run(&self, net: &FastNet, segments: &mut [Segment<'_>], t: &mut Scratch) -> Result<(), KernelError> {
        net.product(&self.router_xd, &t.input, &mut t.b)?;
        let mut routes = std::mem::take(&mut t.routes);
        choose(&t.b, self.experts.len(), self.used, &mut routes);
        match &self.shared {
            Some(shared) => shared.run(net, segments, t)?,
            None => {
                t.a.clear();
                t.a.resize(t.input.m() * t.input.k(), 0.0);
            }
        }
        let done =
            routes.chunk_by(|a, b| a.expert == b.expert).try_for_each(|routes| self.add(net, routes, t));
        t.routes = routes;
        done
    }
}

impl Experts {
    /// Adds the output of one expert to its rows of `t.a`.
    fn add(&self, net: &FastNet, routes: &[Route], t: &mut Scratch) -> Result<(), KernelError> {
        let Some(expert) = routes.first().map(|route| &self.experts[route.expert]) else { return Ok(()) };
        let d = t.input.k();
        let rows_nd = t.gathered.begin(routes.len(), d);
        for (route, out_d) in routes.iter().zip(rows_nd.chunks_exact_mut(d)) {
            out_d.copy_from_slice(t.input.row(route.row));
        }
        t.gathered.quantize(net.tier, &net.pool);
        expert.apply(net, &t.gathered, &mut t.wide, [&mut t.b, &mut t.c, &mut t.side])?;
        for (route, y_d) in routes.iter().zip(t.side.chunks_exact(d)) {
            let x_d = &mut t.a[route.row * d..(route.row + 1) * d];
            x_d.iter_mut().zip(y_d).for_each(|(x, y)| *x += route.weight * y);
        }
        Ok(())
    }
}

/// The best experts of every row of `scores_mx`, sorted by expert.
fn choose(scores_mx: &[f32], experts: usize, used: usize, routes: &mut Vec<Route>) {
    routes.clear();
    let mut best: Vec<usize> = Vec::with_capacity(experts);
    for (row, scores_x) in scores_mx.chunks_exact(experts).enumerate() {
        best.clear();
        best.extend(0..experts);
        best.sort_by(|a, b| scores_x[*b].total_cmp(&scores_x[*a]));
        best.truncate(used);
        let first = best.first().map_or(0.0, |x| scores_x[*x]);
        let weight = |x: usize| (scores_x[x] - first).exp();
        let sum: f32 = best.iter().map(|x| weight(*x)).sum();
        routes.extend(best.iter().map(|x| Route { expert: *x, row, weight: weight(*x) / sum }));
    }
    routes.sort_by_key(|route| (route.expert, route.row));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_chooses_its_best_and_the_weights_sum_to_one() {
        let mut routes = Vec::new();
        choose(&[0.0, 3.0, 1.0, -1.0, 2.0, 0.0, 1.0, 9.0], 4, 2, &mut routes);
        let chosen: Vec<(usize, usize)> = routes.iter().map(|r| (r.expert, r.row)).collect();
        assert_eq!(chosen, [(0, 1), (1, 0), (2, 0), (3, 1)]);
        assert!((routes[1].weight - 1.0 / (1.0 + (-2f32).exp())).abs() < 1e-6);
        assert!((routes.iter().map(|r| r.weight).sum::<f32>() - 2.0).abs() < 1e-6);
    }
}
