"""Ranks: torchrun starts one process a GPU; alone, everything here is a no-op."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class Ranks:
    rank: int
    world: int
    device: torch.device
    control: object = None  # a CPU group: agreeing on a number must not wait for the GPU

    @property
    def first(self) -> bool:
        return self.rank == 0

    def agree(self, value: float) -> float:
        """Rank 0's value, on every rank."""
        if self.world == 1:
            return value
        box = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(box, 0, group=self.control)
        return float(box)

    def total(self, value: float) -> float:
        if self.world == 1:
            return value
        box = torch.tensor([value], dtype=torch.float64)
        dist.all_reduce(box, group=self.control)
        return float(box)

    def sum_(self, x: Tensor) -> Tensor:
        if self.world > 1:
            dist.all_reduce(x)
        return x


def start() -> Ranks:
    world = int(os.environ.get("WORLD_SIZE", "1"))
    rank, local = int(os.environ.get("RANK", "0")), int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if world == 1:
        return Ranks(rank, world, device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Ranks(rank, world, device, dist.new_group(backend="gloo"))


def stop(ranks: Ranks) -> None:
    if ranks.world > 1:
        dist.destroy_process_group()


def flatten_gradients(model: nn.Module) -> Tensor:
    """Every gradient becomes a view of one buffer: zeroing and the all-reduce are one kernel each."""
    parameters = list(model.parameters())
    flat = torch.zeros(sum(p.numel() for p in parameters), device=parameters[0].device)
    at = 0
    for p in parameters:
        p.grad = flat[at : at + p.numel()].view_as(p)
        at += p.numel()
    return flat
