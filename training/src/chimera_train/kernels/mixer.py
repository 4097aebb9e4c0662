"""Everything between a Mamba-2 mixer's two projections as one op: convolution, scan, gated norm.

Input is in_proj's output, rows of z (i) | x (i) | B (n) | C (n) | dt (h); its gradient is one buffer of the same form.
For torch.compile the whole is opaque: a block stays one graph.
"""

from __future__ import annotations

import torch
from torch import Tensor

from chimera_train.kernels import conv, norm, scan


def _views(zxbcdt_btw: Tensor, heads: int, inner: int, n: int) -> tuple[Tensor, Tensor, Tensor]:
    return zxbcdt_btw.split([inner, inner + 2 * n, heads], dim=-1)


def _sizes(zxbcdt_btw: Tensor, heads: int, inner: int, n: int) -> scan.Sizes:
    b, t, _ = zxbcdt_btw.shape
    return scan.Sizes(b, t, heads, inner // heads, n, scan.DEFAULT.chunk)


@torch.library.custom_op("chimera::mixer_fwd", mutates_args=())
def mixer_fwd(zxbcdt_btw: Tensor, conv_weight: Tensor, conv_bias: Tensor, dt_bias: Tensor, A_log: Tensor, D: Tensor,
              norm_weight: Tensor, eps: float, d_state: int, seq_bt: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    heads, inner = A_log.shape[0], norm_weight.shape[0]
    s = _sizes(zxbcdt_btw, heads, inner, d_state)
    z, xbc, dt = _views(zxbcdt_btw, heads, inner, d_state)
    act = conv.forward(xbc, conv_weight, conv_bias, seq_bt)
    prep = scan.prepare(dt, dt_bias, A_log, seq_bt, s)
    y = scan.forward(act, prep, D, seq_bt, s)
    return norm.forward(y, z, norm_weight, eps), act, y


@mixer_fwd.register_fake
def _(zxbcdt_btw, conv_weight, conv_bias, dt_bias, A_log, D, norm_weight, eps, d_state, seq_bt):
    b, t, _ = zxbcdt_btw.shape
    i = norm_weight.shape[0]
    return zxbcdt_btw.new_empty(b, t, i), zxbcdt_btw.new_empty(b, t, i + 2 * d_state), zxbcdt_btw.new_empty(b, t, i)


@torch.library.custom_op("chimera::mixer_bwd", mutates_args=())
def mixer_bwd(dout_bti: Tensor, zxbcdt_btw: Tensor, act_btc: Tensor, y_bti: Tensor, conv_weight: Tensor, conv_bias: Tensor,
              dt_bias: Tensor, A_log: Tensor, D: Tensor, norm_weight: Tensor, eps: float, d_state: int,
              seq_bt: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    heads, inner = A_log.shape[0], norm_weight.shape[0]
    s = _sizes(zxbcdt_btw, heads, inner, d_state)
    z, xbc, dt = _views(zxbcdt_btw, heads, inner, d_state)
    grad = torch.empty_like(zxbcdt_btw)
    dz, dxbc, ddt = _views(grad, heads, inner, d_state)
    dy, dnorm = norm.backward(dout_bti.contiguous(), y_bti, z, norm_weight, eps, dz)
    prep = scan.prepare(dt, dt_bias, A_log, seq_bt, s)
    dact = torch.empty_like(act_btc)
    dA_log, dbias, dD = scan.backward(dy, act_btc, prep, A_log, D, seq_bt, s, dact, ddt)
    dw, db = conv.backward(dact, xbc, conv_weight, conv_bias, seq_bt, dxbc)
    return grad, dw.view_as(conv_weight), db.clone(), dbias.clone(), dA_log.clone(), dD.clone(), dnorm


@mixer_bwd.register_fake
def _(dout_bti, zxbcdt_btw, act_btc, y_bti, conv_weight, conv_bias, dt_bias, A_log, D, norm_weight, eps, d_state, seq_bt):
    return tuple(torch.empty_like(a) for a in (zxbcdt_btw, conv_weight, conv_bias, dt_bias, A_log, D, norm_weight))


def _save(ctx, inputs, output) -> None:
    zxbcdt, *weights, ctx.eps, ctx.d_state, seq_bt = inputs
    _, act, y = output
    ctx.set_materialize_grads(False)  # nobody uses the other two outputs: no zeros for them
    ctx.save_for_backward(zxbcdt, act, y, *weights, seq_bt)


def _backward(ctx, dout, _dact, _dy):
    *tensors, seq_bt = ctx.saved_tensors
    return *torch.ops.chimera.mixer_bwd(dout, *tensors, ctx.eps, ctx.d_state, seq_bt), None, None, None


mixer_fwd.register_autograd(_backward, setup_context=_save)


def mixer(zxbcdt_btw: Tensor, conv_weight: Tensor, conv_bias: Tensor, dt_bias: Tensor, A_log: Tensor, D: Tensor,
          norm_weight: Tensor, eps: float, d_state: int, seq_bt: Tensor | None = None) -> Tensor:
    """The weights in float32 (as they are stored); the result has the type of zxbcdt and goes into out_proj."""
    seq_bt = None if seq_bt is None else seq_bt.contiguous()  # the kernels know no strides of it
    return torch.ops.chimera.mixer_fwd(zxbcdt_btw, conv_weight, conv_bias, dt_bias, A_log, D, norm_weight, eps, d_state,
                                       seq_bt)[0]
