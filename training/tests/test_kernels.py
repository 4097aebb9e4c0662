"""Our Triton kernels, in Triton's interpreter where there is no GPU: each against PyTorch in float64."""

from __future__ import annotations

import os

import pytest
import torch
import torch.nn.functional as F

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"
pytest.importorskip("triton")

from chimera_train import kernels, ssd
from chimera_train.config import ModelConfig
from chimera_train.kernels import conv, norm, scan, xent
from chimera_train.kernels.mixer import mixer
from chimera_train.model import Chimera, init_weights

if not torch.cuda.is_available():
    from triton.runtime import interpreter

    _patch_as_shipped = interpreter._patch_lang_tensor

    def _patch(tensor, scope) -> None:
        """Triton 3.6 converts loop bounds by int(array of shape (1,)), which NumPy ≥ 2.4 refuses."""
        _patch_as_shipped(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = _patch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EPS = 1e-5
HEADS, P, N = 2, 16, 16
INNER = HEADS * P


def documents(b: int, t: int) -> torch.Tensor:
    return torch.cumsum(torch.rand(b, t) < 0.08, dim=1).int().to(DEVICE)


def relative(got: torch.Tensor, want: torch.Tensor) -> float:
    got, want = got.detach(), want.detach()
    return float((got.double() - want.double()).abs().max() / want.double().abs().max().clamp(min=1e-2))


def mixer_inputs(b: int, t: int) -> list[torch.Tensor]:
    c = INNER + 2 * N
    made = [torch.randn(b, t, INNER + c + HEADS), torch.randn(c, 1, 4) * 0.5, torch.randn(c) * 0.1, torch.randn(HEADS) - 2,
            torch.rand(HEADS), torch.randn(HEADS), 1 + 0.1 * torch.randn(INNER)]
    return [a.to(DEVICE).requires_grad_() for a in made]


def mixer_reference(zxbcdt, conv_weight, conv_bias, dt_bias, A_log, D, weight, seq):
    """model.Mamba's own lines, in float64."""
    zxbcdt, conv_weight, conv_bias, dt_bias, A_log, D, weight = (
        a.double() for a in (zxbcdt, conv_weight, conv_bias, dt_bias, A_log, D, weight))
    b, t, _ = zxbcdt.shape
    z, xbc, dt = zxbcdt.split([INNER, INNER + 2 * N, HEADS], dim=-1)
    x, B, C = F.silu(ssd.causal_conv(xbc, conv_weight, conv_bias, seq)).split([INNER, N, N], dim=-1)
    y = ssd.ssd_sequential(x.view(b, t, HEADS, P), F.softplus(dt + dt_bias), -torch.exp(A_log), B, C, D, seq)
    f = y.reshape(b, t, INNER) * F.silu(z)
    return weight * f * torch.rsqrt(f.square().mean(-1, keepdim=True) + EPS)


NAMES = ("zxbcdt", "conv_weight", "conv_bias", "dt_bias", "A_log", "D", "norm_weight")


@pytest.mark.parametrize("t", [1, 3, 16, 37])
@pytest.mark.parametrize("masked", [False, True])
def test_the_mixer_and_all_its_gradients_equal_the_recurrence(t: int, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "DEFAULT", scan.Launch(chunk=16))
    a, seq = mixer_inputs(2, t), documents(2, t) if masked else None
    dout = torch.randn(2, t, INNER, device=DEVICE)
    want = mixer_reference(*a, seq)
    got = mixer(*a, EPS, N, seq)
    assert relative(got, want) < 2e-5
    wants, gots = torch.autograd.grad(want, a, dout.double()), torch.autograd.grad(got, a, dout)
    for name, w, g in zip(NAMES, wants, gots, strict=True):
        assert g.shape == w.shape and relative(g, w) < 1e-4, name


def test_heads_are_summed_over_several_programs() -> None:
    s = scan.Sizes(1, 21, 4, 16, 16, 16)
    xbc, dt = torch.randn(1, 21, 4 * 16 + 32, device=DEVICE), torch.randn(1, 21, 4, device=DEVICE)
    bias, A_log, D = (torch.randn(4, device=DEVICE) * 0.3 for _ in range(3))
    dy = torch.randn(1, 21, 64, device=DEVICE)
    results = []
    for heads in (1, 2, 4):
        launch = scan.Launch(chunk=16, walk=(16, 4, 1), outputs=(heads, 4, 1), grads=(heads, 4, 1))
        prep = scan.prepare(dt, bias, A_log, None, s)
        y = scan.forward(xbc, prep, D, None, s, launch)
        dxbc, ddt = torch.zeros_like(xbc), torch.zeros_like(dt)
        results.append([y, *scan.backward(dy, xbc, prep, A_log, D, None, s, dxbc, ddt, launch), dxbc, ddt])
    for other in results[1:]:
        assert all(relative(g, w) < 1e-5 for g, w in zip(other, results[0], strict=True))


def test_a_document_sees_nothing_of_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also inside a chunk: changing the first document changes no output and no gradient of the second."""
    monkeypatch.setattr(scan, "DEFAULT", scan.Launch(chunk=16))
    a = mixer_inputs(1, 40)
    seq = torch.tensor([[0] * 21 + [1] * 19], dtype=torch.int32, device=DEVICE)
    other = [a[0].detach().clone(), *a[1:]]
    other[0][:, :21] = torch.randn_like(other[0][:, :21])
    other[0].requires_grad_()
    y1, y2 = mixer(*a, EPS, N, seq), mixer(*other, EPS, N, seq)
    assert torch.allclose(y1[:, 21:], y2[:, 21:], atol=1e-5) and not torch.equal(y1[:, :21], y2[:, :21])
    g1, g2 = (torch.autograd.grad(y[:, 21:].square().sum(), x)[0] for y, x in ((y1, a[0]), (y2, other[0])))
    assert torch.allclose(g1[:, 21:], g2[:, 21:], atol=1e-4) and g1[:, :21].abs().max() < 1e-5


@pytest.mark.parametrize("t", [1, 2, 5, 41])
@pytest.mark.parametrize("masked", [False, True])
def test_conv_reads_and_writes_strided_views(t: int, masked: bool) -> None:
    whole = torch.randn(2, t, 50, device=DEVICE)
    x = whole[..., 5:41].requires_grad_()
    w, bias = torch.randn(36, 1, 4, device=DEVICE, requires_grad=True), torch.randn(36, device=DEVICE, requires_grad=True)
    seq, dy = documents(2, t) if masked else None, torch.randn(2, t, 36, device=DEVICE)
    want = F.silu(ssd.causal_conv(x.double(), w.double(), bias.double(), seq))
    assert relative(conv.forward(x.detach(), w.detach(), bias.detach(), seq, (8, 16, 4)), want) < 1e-5
    gradient = torch.full_like(whole, 7.0)
    dw, db = conv.backward(dy.clone(), x.detach(), w.detach(), bias.detach(), seq, gradient[..., 5:41], (8, 16, 2, 4))
    wants = torch.autograd.grad(want, (x, w, bias), dy.double())
    for g, r in zip((gradient[..., 5:41], dw.view(36, 1, 4), db), wants, strict=True):
        assert relative(g, r) < 1e-5
    assert (gradient[..., :5] == 7).all() and (gradient[..., 41:] == 7).all()


@pytest.mark.parametrize("width", [16, 40])
def test_gated_norm(width: int) -> None:
    y, w = torch.randn(2, 5, width, device=DEVICE, requires_grad=True), torch.randn(width, device=DEVICE, requires_grad=True)
    z = torch.randn(2, 5, 3 * width, device=DEVICE)[..., width : 2 * width].requires_grad_()
    f = y.double() * F.silu(z.double())
    want = w.double() * f * torch.rsqrt(f.square().mean(-1, keepdim=True) + EPS)
    assert relative(norm.forward(y.detach(), z.detach(), w.detach(), EPS), want) < 1e-5
    dout, gz = torch.randn_like(y), torch.zeros(2, 5, 3 * width, device=DEVICE)
    dy, dw = norm.backward(dout, y.detach(), z.detach(), w.detach(), EPS, gz[..., width : 2 * width], programs=4)
    wants = torch.autograd.grad(want, (y, z, w), dout.double())
    assert all(relative(g, r) < 1e-5 for g, r in zip((dy, gz[..., width : 2 * width], dw), wants, strict=True))


@pytest.mark.parametrize("v", [8, 37, 100])
@pytest.mark.parametrize(("scale", "z_weight"), [(1.0, 0.0), (0.5, 1e-2)])
def test_cross_entropy_leaves_its_gradient_in_the_logits(v: int, scale: float, z_weight: float) -> None:
    logits = (3 * torch.randn(6, v, device=DEVICE)).requires_grad_()
    target = torch.randint(v, (6,), device=DEVICE)
    target[2] = -100
    ls = logits.double() * scale
    log_z = torch.logsumexp(ls, -1)
    want = torch.where(target >= 0, log_z - ls.gather(1, target.clamp(min=0)[:, None])[:, 0] + z_weight * log_z**2, 0.0)
    buffer = logits.detach().clone()
    got = xent.loss_and_gradient_(buffer, target, scale, z_weight, -100, (32, 4))
    assert relative(got, want) < 1e-5
    assert relative(buffer, torch.autograd.grad(want.sum(), logits)[0]) < 1e-5
    assert not buffer[2].any()


def test_the_op_is_opaque_and_its_fake_has_the_shapes() -> None:
    a = [x.detach() for x in mixer_inputs(1, 5)]
    torch.library.opcheck(torch.ops.chimera.mixer_fwd.default, (*a, EPS, N, None), test_utils=("test_schema", "test_faketensor"))


def test_a_model_learns_the_same_with_our_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "INTERPRETED", True)
    c = ModelConfig(vocab_size=50, d_model=32, n_layer=2, attention_layers=(1,), n_head=2, n_kv_head=1, ssm_heads=4,
                    ssm_head_dim=16, d_state=16, d_ff=32, context_length=64, ssd_chunk=16, logits_scaling=2.0)
    model = Chimera(c)
    init_weights(model, 3, zero_outputs=False, std=0.3)
    model.to(DEVICE)
    ids = torch.randint(50, (2, 20), device=DEVICE)
    results = []
    for mixer_kernel, loss_kernel in (("mamba-ssm", "torch"), ("chimera", "chimera")):
        model.set_kernels(mixer_kernel, loss_kernel)
        model.zero_grad()
        total = model.loss_sum(ids[:, :-1], ids[:, 1:], (torch.arange(19, device=DEVICE) // 8).int().expand(2, -1), z_weight=1e-3)
        total.backward()
        results.append({"loss": total.detach(), **{n: p.grad.clone() for n, p in model.named_parameters()}})
    for name, want in results[0].items():
        assert relative(results[1][name], want) < 1e-4, name


def test_shapes_that_the_kernels_cannot_do_are_refused() -> None:
    model = Chimera(ModelConfig(vocab_size=50, d_model=36, n_layer=1, attention_layers=(), n_head=2, n_kv_head=1, ssm_heads=3,
                                ssm_head_dim=24, d_state=16, d_ff=32, context_length=64))
    with pytest.raises(ValueError, match="powers of two"):
        model.set_kernels("chimera", "torch")
    with pytest.raises(ValueError, match="unknown kernels"):
        model.set_kernels("fastest", "torch")
