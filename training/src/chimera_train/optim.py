"""Optimizers and the learning-rate schedule.

Muon (Jordan et al. 2024): momentum, then the nearest orthogonal matrix, for every matrix of the blocks.
AdamW for everything that is not one linear map: the embedding, norms, conv, dt, A_log, D.
A stored matrix that holds several maps (in_proj: z|x|B|C|dt, input_linear: gate|up) is split into those first.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from chimera_train.model import Chimera


@dataclass(frozen=True)
class OptimConfig:
    kind: str = "muon"  # muon | adamw (every matrix in AdamW too)
    lr_muon: float = 0.02
    lr_matrix: float = 3e-3  # matrices, when kind is adamw
    lr_embedding: float = 3e-3
    lr_other: float = 3e-3
    momentum: float = 0.95
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-10
    decay_muon: float = 0.1
    decay_matrix: float = 0.1
    cautious: bool = True  # decay only where it does not fight the update (Chen et al. 2025)
    clip: float = 1.0
    warmup: float = 0.01  # share of the run
    decay: float = 0.2  # share of the run spent in the 1-sqrt decay
    final: float = 0.0  # what is left of the learning rate at the end


def lr_factor(progress: float, c: OptimConfig) -> float:
    """Warm-up, constant, 1 - sqrt (Hägele et al. 2024)."""
    rise = min(1.0, progress / c.warmup) if c.warmup > 0 else 1.0
    into = max(0.0, (progress - (1.0 - c.decay)) / c.decay) if c.decay > 0 else 0.0
    return max(rise, 1e-3) * (1.0 - (1.0 - c.final) * math.sqrt(min(1.0, into)))


def orthogonalize(m: Tensor, steps: int = 5) -> Tensor:
    """Newton–Schulz iteration of degree 5 (bf16 on a GPU) on a stack of matrices: singular values → about [0.7, 1.2]."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = m.to(torch.bfloat16 if m.is_cuda else torch.float32)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


@dataclass
class MatrixSlice:
    """Rows [start, stop) of a parameter: one linear map."""

    name: str
    param: nn.Parameter
    start: int
    stop: int

    def weight(self) -> Tensor:
        return self.param.data[self.start : self.stop]

    def grad(self) -> Tensor:
        return self.param.grad[self.start : self.stop]


def split_rows(model: Chimera, name: str, p: nn.Parameter) -> tuple[list[MatrixSlice], slice | None]:
    """(the maps for Muon, the rows left to AdamW)."""
    c = model.config
    if name.endswith("in_proj.weight"):
        bounds = [0, c.d_inner, 2 * c.d_inner, 2 * c.d_inner + c.d_state, 2 * c.d_inner + 2 * c.d_state]
        parts = [MatrixSlice(f"{name}[{k}]", p, lo, hi) for k, lo, hi in zip("zxBC", bounds, bounds[1:], strict=False)]
        return parts, slice(bounds[-1], p.shape[0])
    if name.endswith("input_linear.weight"):
        return [MatrixSlice(f"{name}[gate]", p, 0, c.d_ff), MatrixSlice(f"{name}[up]", p, c.d_ff, 2 * c.d_ff)], None
    return [MatrixSlice(name, p, 0, p.shape[0])], None


class Muon:
    """One batched Newton–Schulz per distinct shape."""

    def __init__(self, slices: list[MatrixSlice], c: OptimConfig) -> None:
        self.c = c
        self.groups: dict[tuple[int, int], list[MatrixSlice]] = defaultdict(list)
        for s in slices:
            self.groups[tuple(s.weight().shape)].append(s)
        self.momentum = {shape: torch.zeros(len(group), *shape, device=group[0].param.device)
                         for shape, group in self.groups.items()}

    @torch.no_grad()
    def step(self, factor: float) -> None:
        lr = self.c.lr_muon * factor
        for shape, group in self.groups.items():
            grad = torch.stack([s.grad() for s in group]).float()
            buffer = self.momentum[shape]
            buffer.lerp_(grad, 1 - self.c.momentum)
            update = orthogonalize(grad.lerp(buffer, self.c.momentum)).float()  # Nesterov
            update *= math.sqrt(max(1.0, shape[0] / shape[1]))
            for s, u in zip(group, update, strict=True):
                w = s.weight()
                if self.c.decay_muon:
                    keep = (u * w >= 0).to(w.dtype) if self.c.cautious else 1.0
                    w.sub_(w * keep, alpha=lr * self.c.decay_muon)
                w.sub_(u, alpha=lr)

    def state_dict(self) -> dict[str, Tensor]:
        return {f"{s.name}": self.momentum[shape][i] for shape, group in self.groups.items() for i, s in enumerate(group)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        for shape, group in self.groups.items():
            for i, s in enumerate(group):
                self.momentum[shape][i].copy_(state[s.name])


class Optimizer:
    """Muon and AdamW behind one step; owns clipping and the schedule."""

    def __init__(self, model: Chimera, c: OptimConfig) -> None:
        self.c, self.model = c, model
        self.row_views: list[tuple[nn.Parameter, nn.Parameter, slice]] = []  # (view, whole, rows)
        muon, matrix, other = [], [], []
        for name, p in model.named_parameters():
            if p.ndim != 2 or "embed_tokens" in name:
                if "embed_tokens" not in name:
                    other.append(p)
                continue
            if c.kind == "adamw":
                matrix.append(p)
                continue
            parts, rest = split_rows(model, name, p)
            muon += parts
            if rest is not None:
                view = nn.Parameter(p.data[rest])  # shares storage: AdamW updates the rows in place
                self.row_views.append((view, p, rest))
                other.append(view)
        embedding = [model.model.embed_tokens.weight]
        fused = next(model.parameters()).is_cuda
        self.adamw = torch.optim.AdamW(
            [{"params": embedding, "base": c.lr_embedding, "weight_decay": 0.0},
             {"params": other, "base": c.lr_other, "weight_decay": 0.0},
             {"params": matrix, "base": c.lr_matrix, "weight_decay": c.decay_matrix}],
            lr=c.lr_other, betas=(c.beta1, c.beta2), eps=c.eps, fused=fused)
        self.muon = Muon(muon, c) if muon else None

    def step(self, progress: float) -> float:
        """One update from the gradients in place; returns their norm before clipping."""
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.c.clip or math.inf)
        factor = lr_factor(progress, self.c)
        for view, whole, rows in self.row_views:
            view.grad = whole.grad[rows]
        for group in self.adamw.param_groups:
            group["lr"] = group["base"] * factor
        self.adamw.step()
        if self.muon:
            self.muon.step(factor)
        self.model.zero_grad(set_to_none=False)
        return norm

    def state_dict(self) -> dict:
        return {"adamw": self.adamw.state_dict(), "muon": self.muon.state_dict() if self.muon else {}}

    def load_state_dict(self, state: dict) -> None:
        self.adamw.load_state_dict(state["adamw"])
        if self.muon:
            self.muon.load_state_dict(state["muon"])
