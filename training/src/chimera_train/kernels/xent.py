"""Softmax cross entropy whose gradient replaces the logits: one read and one write of the logits.

    loss = log Z - l_target + z_weight log²Z,    d/dl = scale · (softmax · (1 + 2 z_weight log Z) - onehot)
with l = scale · logit. A row of 32,768 bf16 logits (64 KB) is read, reduced and, still in the cache, read again.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _xent(logit_ptr, target_ptr, loss_ptr, V, scale, z_weight, IGNORE: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    base = logit_ptr + row * V
    target = tl.load(target_ptr + row)
    v = tl.arange(0, BLOCK)
    valid = target != IGNORE
    top = tl.full((BLOCK,), -float("inf"), dtype=tl.float32)
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    for start in range(0, V, BLOCK):  # every lane its own running maximum and sum: one reduction at the end
        x = tl.load(base + start + v, mask=start + v < V, other=-1e30).to(tl.float32) * scale
        higher = tl.maximum(top, x)
        total = total * tl.exp(top - higher) + tl.exp(x - higher)
        top = higher
    peak = tl.max(top, 0)
    log_z = peak + tl.log(tl.sum(total * tl.exp(top - peak), 0))
    picked = tl.load(base + tl.where(valid, target, 0)).to(tl.float32) * scale
    loss = log_z - picked + z_weight * log_z * log_z
    tl.store(loss_ptr + row, tl.where(valid, loss, 0.0))
    gain = tl.where(valid, scale * (1.0 + 2.0 * z_weight * log_z), 0.0)
    hit = tl.where(valid, scale, 0.0)
    tl.debug_barrier()  # the target's logit is read before it is overwritten
    for start in range(0, V, BLOCK):
        x = tl.load(base + start + v, mask=start + v < V, other=-1e30).to(tl.float32) * scale
        g = tl.exp(x - log_z) * gain - tl.where(start + v == target, hit, 0.0)
        tl.store(base + start + v, g.to(logit_ptr.dtype.element_ty), mask=start + v < V)


CONFIG = (8192, 16)  # block, warps


def loss_and_gradient_(logits_mv: Tensor, target_m: Tensor, scale: float, z_weight: float, ignore: int,
                       cfg: tuple[int, int] = CONFIG) -> Tensor:
    """Losses of the rows (float32); the logits become their own gradient."""
    m, v = logits_mv.shape
    loss = torch.empty(m, dtype=torch.float32, device=logits_mv.device)
    block = min(cfg[0], triton.next_power_of_2(v))
    _xent[(m,)](logits_mv, target_m, loss, v, scale, z_weight, IGNORE=ignore, BLOCK=block, num_warps=cfg[1])
    return loss
