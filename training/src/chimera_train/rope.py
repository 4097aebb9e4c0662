"""Rotary positions: default, YaRN (Peng et al. 2023) and LongRoPE (Ding et al. 2024) as Transformers computes them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from chimera_train.config import RopeConfig

# Wavelengths of more than beta_slow / fewer than beta_fast turns over the original context are
# interpolated / left alone. llama.cpp fixes both for this architecture.
YARN_BETA_FAST, YARN_BETA_SLOW = 32.0, 1.0


def _yarn_bound(turns: float, rope: RopeConfig, head_dim: int) -> float:
    return head_dim * math.log(rope.original_context / (turns * 2 * math.pi)) / (2 * math.log(rope.theta))


def inverse_frequencies(rope: RopeConfig, head_dim: int) -> tuple[Tensor, float]:
    """(inv_freq of head_dim/2 entries, factor on cos and sin)."""
    index = torch.arange(0, head_dim, 2, dtype=torch.float32)
    inv_freq = 1.0 / rope.theta ** (index / head_dim)
    if rope.rope_type == "yarn":
        low = max(math.floor(_yarn_bound(YARN_BETA_FAST, rope, head_dim)), 0)
        high = min(math.ceil(_yarn_bound(YARN_BETA_SLOW, rope, head_dim)), head_dim - 1)
        ramp = ((torch.arange(head_dim // 2, dtype=torch.float32) - low) / max(high - low, 0.001)).clamp(0, 1)
        inv_freq = inv_freq / rope.factor * ramp + inv_freq * (1 - ramp)
        return inv_freq, (0.1 * math.log(rope.factor) + 1.0 if rope.factor > 1 else 1.0)
    if rope.rope_type == "longrope":
        scale = math.sqrt(1 + math.log(rope.factor) / math.log(rope.original_context)) if rope.factor > 1 else 1.0
        return inv_freq / torch.tensor(rope.long_factor, dtype=torch.float32), scale
    return inv_freq, 1.0


def cos_sin(rope: RopeConfig, head_dim: int, length: int) -> tuple[Tensor, Tensor]:
    """(length, head_dim) each; the two halves repeat (NeoX order, as Transformers stores q and k)."""
    inv_freq, scale = inverse_frequencies(rope, head_dim)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * inv_freq[None, :]
    angle = torch.cat([angle, angle], dim=-1)
    return angle.cos() * scale, angle.sin() * scale


def rotate(x_bate: Tensor, cos_te: Tensor, sin_te: Tensor) -> Tensor:
    first, second = x_bate.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (x_bate * cos_te + turned * sin_te).to(x_bate.dtype)
