"""Muon makes updates orthogonal, leaves alone what is not one linear map, and the schedule ends at zero."""

from __future__ import annotations

import copy

import pytest
import torch

from chimera_train import config
from chimera_train.model import Chimera, init_weights
from chimera_train.optim import OptimConfig, Optimizer, lr_factor, orthogonalize
from chimera_train.parallel import flatten_gradients


def prepared(c: OptimConfig) -> tuple[Chimera, Optimizer]:
    model = Chimera(config.tiny())
    init_weights(model, 2, zero_outputs=False)
    optimizer = Optimizer(model, c)
    flatten_gradients(model)
    return model, optimizer


def loss_of(model: Chimera) -> torch.Tensor:
    ids = torch.arange(8, 73)[None]
    return model.loss_sum(ids[:, :-1], ids[:, 1:]) / 64


@pytest.mark.parametrize("shape", [(3, 32, 64), (2, 64, 32)])
def test_singular_values_of_an_update_are_near_one(shape: tuple[int, ...]) -> None:
    s = torch.linalg.svdvals(orthogonalize(torch.randn(*shape)).float())
    assert float(s.min()) > 0.5 and float(s.max()) < 1.3


def test_every_parameter_moves_and_each_matrix_row_by_its_own_optimizer() -> None:
    model, optimizer = prepared(OptimConfig(clip=0, decay_muon=0))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    loss_of(model).backward()
    optimizer.step(0.5)
    seen_ids = torch.arange(8, 73)
    for name, p in model.named_parameters():
        moved = (p.detach() - before[name]).abs()
        assert float(moved[seen_ids].min() if "embed" in name else moved.max()) > 0, name
    c, w = model.config, "model.layers.0.mamba.in_proj.weight"
    dt_rows = (dict(model.named_parameters())[w].detach() - before[w])[-c.ssm_heads :]
    # AdamW's first step is the sign of the gradient times the rate; Muon's is not.
    assert ((dt_rows.abs() - 3e-3).abs() < 3e-5).float().mean() > 0.95


def test_vectors_are_not_decayed() -> None:
    model, optimizer = prepared(OptimConfig(lr_embedding=0.0, lr_other=1.0, lr_muon=0.0))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer.step(0.5)  # every gradient is zero
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())


@pytest.mark.parametrize("kind", ["muon", "adamw"])
def test_loss_falls(kind: str) -> None:
    model, optimizer = prepared(OptimConfig(kind=kind))
    first = float(loss_of(model).detach())
    for _ in range(12):
        loss_of(model).backward()
        optimizer.step(0.5)
    assert float(loss_of(model).detach()) < 0.6 * first


def test_state_comes_back() -> None:
    one, a = prepared(OptimConfig())
    for _ in range(2):
        loss_of(one).backward()
        a.step(0.5)
    two, b = prepared(OptimConfig())
    two.load_state_dict(one.state_dict())
    b.load_state_dict(copy.deepcopy(a.state_dict()))
    for model, optimizer in ((one, a), (two, b)):
        loss_of(model).backward()
        optimizer.step(0.6)
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


def test_schedule_rises_holds_and_ends_at_zero() -> None:
    c = OptimConfig(warmup=0.1, decay=0.2)
    assert lr_factor(0.05, c) == 0.5 and lr_factor(0.1, c) == lr_factor(0.8, c) == 1.0
    assert lr_factor(0.85, c) == pytest.approx(0.5) and lr_factor(1.0, c) == pytest.approx(0.0, abs=1e-12)
