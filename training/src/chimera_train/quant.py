"""Straight-through fake quantization on ggml's exact grids, so that training sees the weights that will ship.

Forward: the value that llama.cpp and our engine will read back; backward: the identity.
Blocks run along the input dimension (a weight is (out, in)), as in ggml. Source: ggml-quants.c, quantize_row_*_ref.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _half(x: Tensor) -> Tensor:
    """Scales are stored in fp16."""
    return x.to(torch.float16).float()


def _signed_max(blocks: Tensor) -> Tensor:
    """The entry of largest magnitude with its sign; of equals the first, as ggml's `amax < fabsf(v)` keeps."""
    at = blocks.abs().argmax(dim=-1, keepdim=True)
    return blocks.gather(-1, at)


def _inverse(d: Tensor) -> Tensor:
    return torch.where(d == 0, torch.zeros_like(d), 1.0 / torch.where(d == 0, torch.ones_like(d), d))


def q4_0(w: Tensor) -> Tensor:
    """32 weights share d = signed max / -8; q = min(15, floor(w/d + 8.5)), with d still in fp32 here."""
    blocks = w.float().reshape(-1, 32)
    d = _signed_max(blocks) / -8.0
    q = torch.clamp(torch.floor(blocks * _inverse(d) + 8.5), max=15.0)
    return ((q - 8.0) * _half(d)).reshape(w.shape)


def q8_0(w: Tensor) -> Tensor:
    """32 weights share d = max|w| / 127; roundf rounds halves away from zero."""
    blocks = w.float().reshape(-1, 32)
    d = blocks.abs().amax(dim=-1, keepdim=True) / 127.0
    scaled = blocks * _inverse(d)
    q = torch.sign(scaled) * torch.floor(scaled.abs() + 0.5)
    return (q * _half(d)).reshape(w.shape)


def q6_k(w: Tensor) -> Tensor:
    """256 weights share an fp16 d, each 16 an int8 scale; q in [-32, 31]. ggml also tries 18 neighbouring
    scales a block and keeps the best: left out here (the grid is the same, the chosen scale may differ slightly)."""
    blocks = w.float().reshape(-1, 16, 16)
    scale = _signed_max(blocks) / -32.0
    at = scale.abs().argmax(dim=1, keepdim=True)
    top = scale.gather(1, at)
    d = _half(top / -128.0)
    steps = torch.clamp(torch.round(scale * _inverse(top) * -128.0), max=127.0)
    grid = d * steps
    q = torch.clamp(torch.round(blocks * _inverse(grid)), -32.0, 31.0)
    return (q * grid).reshape(w.shape)


GRIDS = {"q4_0": (q4_0, 32), "q8_0": (q8_0, 32), "q6_k": (q6_k, 256)}


def fake_quant(w: Tensor, grid: str | None) -> Tensor:
    """w + (grid(w) - w) with the bracket cut from the graph: forward the grid, backward the identity."""
    if grid is None:
        return w
    quantize, block = GRIDS[grid]
    if w.shape[-1] % block:
        raise ValueError(f"{grid} needs rows of a multiple of {block}, not {w.shape[-1]}")
    with torch.no_grad():
        delta = quantize(w) - w
    return w + delta
