"""The scan in all its forms says what the recurrence says."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from chimera_train import ssd


def inputs(t: int, b: int = 2, h: int = 3, p: int = 8, n: int = 16, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    made = [torch.randn(b, t, h, p), F.softplus(torch.randn(b, t, h)), -torch.rand(h) - 0.1, torch.randn(b, t, n),
            torch.randn(b, t, n), torch.randn(h)]
    return [a.to(dtype).requires_grad_() for a in made]


def documents(b: int, t: int) -> torch.Tensor:
    return torch.cumsum(torch.rand(b, t) < 0.1, dim=1).int()


@pytest.mark.parametrize("t", [1, 7, 16, 33, 50])
@pytest.mark.parametrize("masked", [False, True])
def test_chunked_equals_the_recurrence_at_any_length(t: int, masked: bool) -> None:
    a = inputs(t, dtype=torch.float32)
    seq = documents(2, t) if masked else None
    want, got = ssd.ssd_sequential(*a, seq), ssd.ssd_chunked(*a, 16, seq)
    assert (got - want).abs().max() <= 1e-5 * want.abs().max()


def test_gradients_of_chunked_equal_those_of_the_recurrence() -> None:
    a, seq, dy = inputs(37, dtype=torch.float32), documents(2, 37), torch.randn(2, 37, 3, 8)
    want = torch.autograd.grad(ssd.ssd_sequential(*a, seq), a, dy.double())
    got = torch.autograd.grad(ssd.ssd_chunked(*a, 8, seq), a, dy)
    for w, g in zip(want, got, strict=True):
        assert (w - g).abs().max() <= 1e-4 * w.abs().max()


def test_a_new_document_starts_from_an_empty_state() -> None:
    a = [x.detach() for x in inputs(20, b=1)]
    seq = torch.tensor([[0] * 9 + [1] * 11])
    whole = ssd.ssd_sequential(*a, seq)[:, 9:]
    alone = ssd.ssd_sequential(a[0][:, 9:], a[1][:, 9:], a[2], a[3][:, 9:], a[4][:, 9:], a[5])
    assert torch.equal(whole, alone)


def test_the_custom_op_carries_gradients_to_every_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The op's plumbing (saving, order of gradients, fake shapes), with the reference in the kernels' place."""

    class Reference:
        @staticmethod
        def forward(*a):
            return ssd.ssd_chunked(*a).contiguous()

        @staticmethod
        def backward(dy, *a):
            from concurrent.futures import ThreadPoolExecutor  # autograd is off inside an op of this thread

            def work():
                leaves = [x.detach().requires_grad_() for x in a[:6]]
                with torch.enable_grad():
                    return torch.autograd.grad(ssd.ssd_chunked(*leaves, *a[6:]), leaves, dy)

            with ThreadPoolExecutor(1) as pool:
                return tuple(g.contiguous() for g in pool.submit(work).result())

    monkeypatch.setattr(ssd, "_kernels", lambda: Reference)
    a, seq, dy = inputs(19, dtype=torch.float32), documents(2, 19), torch.randn(2, 19, 3, 8)
    want = torch.autograd.grad(ssd.ssd_chunked(*a, 8, seq), a, dy)
    got = torch.autograd.grad(ssd.ssd_triton(*a, 8, seq), a, dy)
    assert all(torch.allclose(w, g, atol=1e-6) for w, g in zip(want, got, strict=True))
    torch.library.opcheck(torch.ops.chimera.ssd_fwd.default, (*[x.detach() for x in a], 8, seq),
                          test_utils=("test_schema", "test_faketensor"))


def test_conv_equals_conv1d_and_stops_at_documents() -> None:
    x, w, b = torch.randn(2, 11, 6), torch.randn(6, 1, 4), torch.randn(6)
    want = F.conv1d(F.pad(x.transpose(1, 2), (3, 0)), w, b, groups=6).transpose(1, 2)
    assert torch.allclose(ssd.causal_conv(x, w, b), want, atol=1e-5)
    seq = torch.tensor([[0] * 5 + [1] * 6] * 2)
    masked = ssd.causal_conv(x, w, b, seq)
    assert torch.allclose(masked[:, :5], want[:, :5], atol=1e-5)
    assert torch.allclose(masked[:, 5:], ssd.causal_conv(x[:, 5:], w, b), atol=1e-5)
