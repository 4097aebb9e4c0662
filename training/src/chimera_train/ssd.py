"""The state-space scan (SSD, Dao & Gu 2024, "Transformers are SSMs"): one meaning, three ways to run it.

    S_t = exp(dt_t A_h) S_{t-1} + dt_t x_t B_t^T          S is (p, n) per head, B and C are shared by all heads
    y_t = S_t C_t + D_h x_t

`ssd_sequential` is the definition; `ssd_chunked` the same in matrix products, plain PyTorch, runs anywhere;
`ssd_triton` mamba-ssm's kernels as one opaque custom op, so that torch.compile sees a block as one graph.
`seq_bt` (int32, non-decreasing along t) numbers the documents of a row: no state crosses a change of number.
"""

from __future__ import annotations

import importlib.util

import torch
import torch.nn.functional as F
from torch import Tensor


def ssd_sequential(x_bthp: Tensor, dt_bth: Tensor, A_h: Tensor, B_btn: Tensor, C_btn: Tensor,
                   D_h: Tensor, seq_bt: Tensor | None = None) -> Tensor:
    """The recurrence as written above, in float64: what every other version is tested against."""
    x, dt, A, B, C, D = (a.double() for a in (x_bthp, dt_bth, A_h, B_btn, C_btn, D_h))
    b, t, h, p = x.shape
    state_bhpn = x.new_zeros(b, h, p, B.shape[-1])
    out = []
    for i in range(t):
        if seq_bt is not None and i:
            state_bhpn = state_bhpn * (seq_bt[:, i] == seq_bt[:, i - 1])[:, None, None, None]
        decay_bh = torch.exp(dt[:, i] * A)
        inflow = torch.einsum("bhp,bn->bhpn", x[:, i] * dt[:, i, :, None], B[:, i])
        state_bhpn = state_bhpn * decay_bh[..., None, None] + inflow
        out.append(torch.einsum("bhpn,bn->bhp", state_bhpn, C[:, i]) + D[:, None] * x[:, i])
    return torch.stack(out, dim=1)


def ssd_chunked(x_bthp: Tensor, dt_bth: Tensor, A_h: Tensor, B_btn: Tensor, C_btn: Tensor,
                D_h: Tensor, chunk: int, seq_bt: Tensor | None = None) -> Tensor:
    """Within a chunk of length l a masked (l × l) product, between chunks one state per head."""
    b, t, h, p = x_bthp.shape
    n, pad = B_btn.shape[-1], -t % chunk
    c = (t + pad) // chunk
    # Padding has dt = 0: it neither decays nor feeds the state.
    x_bclhp = F.pad(x_bthp, (0, 0, 0, 0, 0, pad)).view(b, c, chunk, h, p)
    dt_bclh = F.pad(dt_bth, (0, 0, 0, pad)).view(b, c, chunk, h).float()
    B_bcln, C_bcln = (F.pad(a, (0, 0, 0, pad)).view(b, c, chunk, n) for a in (B_btn, C_btn))
    if seq_bt is None:
        seq_bt = torch.zeros(b, t, dtype=torch.int32, device=x_bthp.device)
    seq_bcl = F.pad(seq_bt.unsqueeze(1).float(), (0, pad), mode="replicate").squeeze(1).view(b, c, chunk)

    cum_bclh = torch.cumsum(dt_bclh * A_h, dim=2)
    xdt_bclhp = x_bclhp * dt_bclh.unsqueeze(-1).to(x_bclhp.dtype)

    # Inside the chunk: y_i = sum_{j<=i} (C_i·B_j) exp(cum_i - cum_j) dt_j x_j.
    causal_ll = torch.ones(chunk, chunk, dtype=torch.bool, device=x_bthp.device).tril()
    same_bcll = (seq_bcl.unsqueeze(3) == seq_bcl.unsqueeze(2)) & causal_ll
    gap_bcllh = cum_bclh.unsqueeze(3) - cum_bclh.unsqueeze(2)
    weight_bcllh = torch.exp(gap_bcllh.masked_fill(~same_bcll.unsqueeze(-1), -torch.inf))
    cb_bcll = torch.einsum("bcin,bcjn->bcij", C_bcln, B_bcln)
    mix_bcllh = (cb_bcll.unsqueeze(-1) * weight_bcllh).to(x_bthp.dtype)
    y_bclhp = torch.einsum("bcijh,bcjhp->bcihp", mix_bcllh, xdt_bclhp)

    # What each chunk leaves behind, and what the chunks before it left.
    last_bc = seq_bcl[:, :, -1]
    to_end_bclh = torch.exp(cum_bclh[:, :, -1:] - cum_bclh) * (seq_bcl == last_bc.unsqueeze(-1)).unsqueeze(-1)
    left_bchpn = torch.einsum("bclhp,bcln->bchpn", (xdt_bclhp * to_end_bclh.unsqueeze(-1)).float(), B_bcln.float())
    before_bc = F.pad(last_bc[:, :-1], (1, 0), value=-1.0)
    keep_bch = torch.exp(cum_bclh[:, :, -1]) * (last_bc == before_bc).unsqueeze(-1)
    state_bhpn, entering = left_bchpn.new_zeros(b, h, p, n), []
    for i in range(c):
        entering.append(state_bhpn)
        state_bhpn = state_bhpn * keep_bch[:, i, :, None, None] + left_bchpn[:, i]
    from_start_bclh = torch.exp(cum_bclh) * (seq_bcl == before_bc.unsqueeze(-1)).unsqueeze(-1)
    carried = torch.einsum("bcln,bchpn->bclhp", C_bcln.float(), torch.stack(entering, dim=1))
    y_bclhp = y_bclhp + (carried * from_start_bclh.unsqueeze(-1)).to(y_bclhp.dtype)
    y_bclhp = y_bclhp + D_h.view(h, 1).to(x_bclhp.dtype) * x_bclhp
    return y_bclhp.reshape(b, c * chunk, h, p)[:, :t]


# A constant, not a call: torch.compile must not trace the search.
HAS_TRITON_SSD = all(importlib.util.find_spec(name) for name in ("mamba_ssm", "triton"))


def _kernels():
    from chimera_train import mamba_kernels  # imports Triton: only where a GPU (or its interpreter) is

    return mamba_kernels


@torch.library.custom_op("chimera::ssd_fwd", mutates_args=())
def _ssd_fwd(x_bthp: Tensor, dt_bth: Tensor, A_h: Tensor, B_btn: Tensor, C_btn: Tensor, D_h: Tensor,
             chunk: int, seq_bt: Tensor | None) -> Tensor:
    return _kernels().forward(x_bthp, dt_bth, A_h, B_btn, C_btn, D_h, chunk, seq_bt)


@_ssd_fwd.register_fake
def _(x_bthp, dt_bth, A_h, B_btn, C_btn, D_h, chunk, seq_bt):
    return torch.empty(x_bthp.shape, dtype=x_bthp.dtype, device=x_bthp.device)


@torch.library.custom_op("chimera::ssd_bwd", mutates_args=())
def _ssd_bwd(dy_bthp: Tensor, x_bthp: Tensor, dt_bth: Tensor, A_h: Tensor, B_btn: Tensor, C_btn: Tensor, D_h: Tensor,
             chunk: int, seq_bt: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _kernels().backward(dy_bthp, x_bthp, dt_bth, A_h, B_btn, C_btn, D_h, chunk, seq_bt)


@_ssd_bwd.register_fake
def _(dy_bthp, x_bthp, dt_bth, A_h, B_btn, C_btn, D_h, chunk, seq_bt):
    return tuple(torch.empty(a.shape, dtype=a.dtype, device=a.device) for a in (x_bthp, dt_bth, A_h, B_btn, C_btn, D_h))


def _save(ctx, inputs, output) -> None:
    *tensors, ctx.chunk, seq_bt = inputs
    ctx.save_for_backward(*tensors, seq_bt)  # not the output: the backward needs only its shape


def _backward(ctx, dy_bthp: Tensor):
    *tensors, seq_bt = ctx.saved_tensors
    return *torch.ops.chimera.ssd_bwd(dy_bthp, *tensors, ctx.chunk, seq_bt), None, None


_ssd_fwd.register_autograd(_backward, setup_context=_save)


def ssd_triton(x_bthp: Tensor, dt_bth: Tensor, A_h: Tensor, B_btn: Tensor, C_btn: Tensor,
               D_h: Tensor, chunk: int, seq_bt: Tensor | None = None) -> Tensor:
    return torch.ops.chimera.ssd_fwd(x_bthp, dt_bth, A_h, B_btn, C_btn, D_h, chunk, seq_bt)


def ssd(x_bthp: Tensor, dt_bth: Tensor, A_h: Tensor, B_btn: Tensor, C_btn: Tensor,
        D_h: Tensor, chunk: int, seq_bt: Tensor | None = None) -> Tensor:
    """dt is after softplus (float32), A negative (float32); the result has x's type."""
    run = ssd_triton if x_bthp.is_cuda and HAS_TRITON_SSD else ssd_chunked
    return run(x_bthp, dt_bth, A_h, B_btn, C_btn, D_h, chunk, seq_bt)


def causal_conv(x_btc: Tensor, weight_c1k: Tensor, bias_c: Tensor, seq_bt: Tensor | None = None) -> Tensor:
    """Depthwise causal convolution as k shifted multiply-adds: torch.compile fuses them into one pass,
    faster than F.conv1d and than the Triton kernels measured. Tap k-1 is the current token."""
    taps = weight_c1k.shape[-1]
    out = x_btc * weight_c1k[:, 0, taps - 1] + bias_c
    t = x_btc.shape[1]
    for shift in range(1, min(taps, t)):
        moved = F.pad(x_btc, (0, 0, shift, 0))[:, :t]
        if seq_bt is not None:
            same_bt = F.pad(seq_bt, (shift, 0), value=-1)[:, :t] == seq_bt
            moved = moved * same_bt.unsqueeze(-1)
        out = out + moved * weight_c1k[:, 0, taps - 1 - shift]
    return out
