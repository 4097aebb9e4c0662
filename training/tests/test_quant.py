"""The grids are ggml's: written out again here block by block, in plain Python, from quantize_row_*_ref."""

from __future__ import annotations

import math

import numpy as np
import torch

from chimera_train import config
from chimera_train.model import Chimera, init_weights
from chimera_train.quant import fake_quant, q4_0, q6_k, q8_0

f32, f16 = np.float32, np.float16


def ggml_q4_0(x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    for b in range(0, x.size, 32):
        amax, top = f32(0), f32(0)
        for v in x[b : b + 32]:
            if amax < abs(v):
                amax, top = abs(v), v
        d = f32(top / f32(-8))
        inverse = f32(1) / d if d else f32(0)
        for j in range(32):
            code = min(15, int(f32(x[b + j] * inverse + f32(8.5))))
            out[b + j] = f32(code - 8) * f32(f16(d))
    return out


def ggml_q8_0(x: np.ndarray) -> np.ndarray:
    out = np.empty_like(x)
    for b in range(0, x.size, 32):
        d = f32(np.abs(x[b : b + 32]).max() / f32(127))
        inverse = f32(1) / d if d else f32(0)
        for j in range(32):
            v = f32(x[b + j] * inverse)
            code = math.floor(abs(v) + 0.5) * (1 if v >= 0 else -1)
            out[b + j] = f32(code) * f32(f16(d))
    return out


def weights(rows: int, columns: int) -> torch.Tensor:
    w = torch.randn(rows, columns) * torch.logspace(-6, 1, rows)[:, None]
    w[0] = 0  # a block of zeros
    w[1, :32] = torch.tensor([0.5, -0.5] * 16)  # a tie of magnitudes: the first decides the sign of d
    w[2, :32] = torch.tensor([-0.5, 0.5] * 16)
    return w


def test_q4_0_equals_ggml_bit_for_bit() -> None:
    w = weights(64, 64)
    assert np.array_equal(q4_0(w).numpy().ravel(), ggml_q4_0(w.numpy().ravel()))


def test_q8_0_equals_ggml_bit_for_bit() -> None:
    w = weights(64, 64)
    assert np.array_equal(q8_0(w).numpy().ravel(), ggml_q8_0(w.numpy().ravel()))


def test_q6_k_lies_on_its_grid_and_is_near() -> None:
    w = torch.randn(8, 512)
    seen = q6_k(w)
    assert (seen - w).square().mean().sqrt() < 0.03 * w.square().mean().sqrt()
    block = (seen / seen.abs()[seen.abs() > 0].min()).reshape(-1, 16)
    assert torch.unique(seen.reshape(-1, 16)[0]).numel() <= 16 and torch.isfinite(block).all()
    assert torch.equal(q6_k(torch.zeros(1, 256)), torch.zeros(1, 256))


def test_q4_0_twice_is_q4_0_once_up_to_the_half_precision_of_d() -> None:
    once = q4_0(torch.randn(16, 64))
    assert torch.allclose(q4_0(once), once, rtol=1e-3, atol=1e-6)


def test_gradient_passes_straight_through() -> None:
    w = torch.randn(4, 32, requires_grad=True)
    (fake_quant(w, "q4_0") * torch.arange(32.0)).sum().backward()
    assert torch.equal(w.grad, torch.arange(32.0).expand(4, 32))


def test_qat_switches_every_matrix_and_nothing_else() -> None:
    model = Chimera(config.tiny(d_model=256, ssm_heads=16, n_head=4))
    init_weights(model, 3, zero_outputs=False)
    ids = torch.randint(8, 1024, (1, 12))
    with torch.no_grad():
        plain = model(ids)
        model.set_qat("q4_0", "q6_k")
        seen = model(ids)
        by_hand = Chimera(model.config)
        by_hand.load_state_dict({n: (q6_k(p) if "embed" in n else q4_0(p)) if p.ndim == 2 else p
                                 for n, p in model.state_dict().items()})
        assert torch.allclose(seen, by_hand(ids), atol=1e-5)
        assert not torch.allclose(seen, plain, atol=1e-3)
        model.set_qat(None, None)
        assert torch.equal(model(ids), plain)
