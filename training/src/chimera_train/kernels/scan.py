"""The SSD scan (ssd.py has the definition), forward and backward, in chunks of l tokens.

Per head, with c_i the sum of dt·A from the chunk's start to i, u_j = dt_j x_j, and S the state that enters the chunk:

    y_i  = sum_{j<=i} (C_i·B_j) e^{c_i-c_j} u_j  +  e^{c_i} S^T C_i  +  D x_i
    S'   = e^{c_l} S + sum_j e^{c_l-c_j} B_j u_j^T                                   S is (n, p)
    du_j = sum_{i>=j} (C_i·B_j) e^{c_i-c_j} dy_i  +  e^{c_l-c_j} dS'^T B_j
    dC_i = sum_{j<=i} G_ij B_j + e^{c_i} S dy_i        G_ij = e^{c_i-c_j} (u_j·dy_i)
    dB_j = sum_{i>=j} G_ij C_i + e^{c_l-c_j} dS' u_j
    dS   = e^{c_l} dS' + sum_i e^{c_i} C_i dy_i^T
    dc_i = dy_i·(y_i - D x_i) - u_i·du_i,   dc_l += sum_j u_j·(e^{c_l-c_j} dS'^T B_j) + e^{c_l} <S, dS'>

S and dS obey the same recurrence in opposite directions: `_walk` is both. Everything that depends on dt, A and the
document borders is four small vectors, made once by `_prepare`: a border is a zero in them.
Products of dots are never transposed (wrong on Hopper with Triton 3.6): G is formed as [j, i], and `_shared_grads`
loads it in both orientations.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _prepare(dt_ptr, dt_row, bias_ptr, A_log_ptr, seq_ptr, dt_out, cum_out, in_out, out_out, keep_out,
             T, H, C, HAS_SEQ: tl.constexpr, L: tl.constexpr, BH: tl.constexpr):
    """dt = softplus(raw + bias); c in units of log 2; e^{c_i} and e^{c_l-c_j}, zero across a border; e^{c_l}."""
    pid = tl.program_id(0).to(tl.int64)
    b, c = pid // C, pid % C
    t = c * L + tl.arange(0, L)
    h = tl.program_id(1) * BH + tl.arange(0, BH)
    ok_h = h < H
    ok = (t < T)[:, None] & ok_h[None, :]
    raw = tl.load(dt_ptr + (b * T + t)[:, None] * dt_row + h[None, :], mask=ok, other=0.0).to(tl.float32)
    raw += tl.load(bias_ptr + h, mask=ok_h, other=0.0)[None, :]
    e = tl.exp(tl.minimum(raw, 20.0))
    dt = tl.where(raw > 20.0, raw, tl.where(raw < -6.0, e * (1.0 - 0.5 * e), tl.log(1.0 + e)))
    dt = tl.where(ok, dt, 0.0)
    step = dt * (-1.4426950408889634 * tl.exp(tl.load(A_log_ptr + h, mask=ok_h, other=0.0)))[None, :]
    cum = tl.cumsum(step, 0)
    last = tl.sum(step, 0)
    into, out, keep = tl.exp2(cum), tl.exp2(last[None, :] - cum), tl.exp2(last)
    if HAS_SEQ:
        s = tl.load(seq_ptr + b * T + tl.minimum(t, T - 1))
        s_last = tl.load(seq_ptr + b * T + tl.minimum(c * L + L - 1, T - 1))
        s_before = tl.load(seq_ptr + b * T + tl.maximum(c * L - 1, 0))
        into = tl.where((s == s_before)[:, None], into, 0.0)
        out = tl.where((s == s_last)[:, None], out, 0.0)
        keep = tl.where(s_last == s_before, keep, 0.0)
    at = ((b * H + h) * C)[None, :] * L + t[:, None]
    ok_store = ok_h[None, :] & (t >= 0)[:, None]
    tl.store(dt_out + at, dt, mask=ok_store)
    tl.store(cum_out + at, cum, mask=ok_store)
    tl.store(in_out + at, into, mask=ok_store)
    tl.store(out_out + at, out, mask=ok_store)
    tl.store(keep_out + (b * H + h) * C + c, keep, mask=ok_h)


@triton.jit
def _walk(x_ptr, x_row, B_ptr, B_row, weight_ptr, dt_ptr, keep_ptr, out_ptr, T, H, C,
          REVERSE: tl.constexpr, L: tl.constexpr, P: tl.constexpr, N: tl.constexpr, BN: tl.constexpr):
    """S of every chunk (forwards: x, B, dt·e^{c_l-c_j}), or dS' (backwards: dy, C, e^{c_i}). One program a row and head."""
    pid = tl.program_id(0).to(tl.int64)
    b, h = pid // H, pid % H
    n = tl.program_id(1) * BN + tl.arange(0, BN)
    p = tl.arange(0, P)
    i = tl.arange(0, L)
    acc = tl.zeros((BN, P), dtype=tl.float32)
    for k in range(C):
        c = (C - 1 - k) if REVERSE else k
        t = c * L + i
        ok = t < T
        x = tl.load(x_ptr + (b * T + t)[:, None] * x_row + h * P + p[None, :], mask=ok[:, None], other=0.0)
        B = tl.load(B_ptr + (b * T + t)[:, None] * B_row + n[None, :], mask=ok[:, None], other=0.0)
        w = tl.load(weight_ptr + pid * C * L + t)
        if not REVERSE:
            w *= tl.load(dt_ptr + pid * C * L + t)
        keep = tl.load(keep_ptr + pid * C + c)
        tl.store(out_ptr + ((b * C + c) * H + h) * (N * P) + n[:, None] * P + p[None, :], acc.to(out_ptr.dtype.element_ty))
        xw = (x.to(tl.float32) * w[:, None]).to(x.dtype)
        acc = tl.dot(tl.trans(B), xw, acc * keep)


@triton.jit
def _outputs(x_ptr, x_row, B_ptr, C_ptr, bc_row, dt_ptr, cum_ptr, in_ptr, S_ptr, D_ptr, seq_ptr, y_ptr, T, H, C,
             HAS_SEQ: tl.constexpr, L: tl.constexpr, P: tl.constexpr, N: tl.constexpr, HG: tl.constexpr):
    """y of one chunk for HG heads, which share C·B^T."""
    pid = tl.program_id(0).to(tl.int64)
    b, c = pid // C, pid % C
    i, p, n = tl.arange(0, L), tl.arange(0, P), tl.arange(0, N)
    t = c * L + i
    row = b * T + t
    ok = (t < T)[:, None]
    Bt = tl.load(B_ptr + row[:, None] * bc_row + n[None, :], mask=ok, other=0.0)
    Ct = tl.load(C_ptr + row[:, None] * bc_row + n[None, :], mask=ok, other=0.0)
    causal = i[:, None] >= i[None, :]
    if HAS_SEQ:
        s = tl.load(seq_ptr + b * T + tl.minimum(t, T - 1))
        causal = causal & (s[:, None] == s[None, :])
    cb = tl.where(causal, tl.dot(Ct, tl.trans(Bt)), 0.0)
    first = tl.program_id(1) * HG
    for k in range(HG):
        h = first + k
        at = (b * H + h) * C * L + t
        cum, dt, into = tl.load(cum_ptr + at), tl.load(dt_ptr + at), tl.load(in_ptr + at)
        x = tl.load(x_ptr + row[:, None] * x_row + h * P + p[None, :], mask=ok, other=0.0)
        S = tl.load(S_ptr + (pid * H + h) * (N * P) + n[:, None] * P + p[None, :])
        mix = cb * tl.exp2(tl.minimum(cum[:, None] - cum[None, :], 0.0)) * dt[None, :]
        y = tl.dot(Ct, S) * into[:, None]
        y = tl.dot(mix.to(x.dtype), x, y)
        y += tl.load(D_ptr + h) * x.to(tl.float32)
        tl.store(y_ptr + row[:, None] * (H * P) + h * P + p[None, :], y.to(y_ptr.dtype.element_ty), mask=ok)


@triton.jit
def _products(B_ptr, C_ptr, bc_row, bc_ptr, T, C, L: tl.constexpr, N: tl.constexpr):
    """B_j·C_i of one chunk as [j, i]. A kernel of its own: a dot chained to a dot costs `_grads` its warp layout."""
    pid = tl.program_id(0).to(tl.int64)
    b, c = pid // C, pid % C
    i, n = tl.arange(0, L), tl.arange(0, N)
    t = c * L + i
    ok = (t < T)[:, None]
    Bt = tl.load(B_ptr + (b * T + t)[:, None] * bc_row + n[None, :], mask=ok, other=0.0)
    Ct = tl.load(C_ptr + (b * T + t)[:, None] * bc_row + n[None, :], mask=ok, other=0.0)
    tl.store(bc_ptr + pid * (L * L) + i[:, None] * L + i[None, :], tl.dot(Bt, tl.trans(Ct)))


@triton.jit
def _grads(dy_ptr, x_ptr, x_row, B_ptr, C_ptr, bc_row, bc_ptr, dt_ptr, cum_ptr, in_ptr, out_ptr, keep_ptr, S_ptr, dS_ptr,
           A_log_ptr, D_ptr, seq_ptr, dx_ptr, dx_row, ddt_ptr, ddt_row, G_ptr, stat_ptr, T, H, C,
           HAS_SEQ: tl.constexpr, L: tl.constexpr, P: tl.constexpr, N: tl.constexpr, HG: tl.constexpr):
    """dx, d(raw dt) of HG heads of one chunk; the sum of their G; per head dA_log, d(bias), dD."""
    pid = tl.program_id(0).to(tl.int64)
    b, c = pid // C, pid % C
    i, p, n = tl.arange(0, L), tl.arange(0, P), tl.arange(0, N)
    t = c * L + i
    row = b * T + t
    ok = (t < T)[:, None]
    Bt = tl.load(B_ptr + row[:, None] * bc_row + n[None, :], mask=ok, other=0.0)
    Ct = tl.load(C_ptr + row[:, None] * bc_row + n[None, :], mask=ok, other=0.0)
    causal = i[None, :] >= i[:, None]  # [j, i]
    if HAS_SEQ:
        s = tl.load(seq_ptr + b * T + tl.minimum(t, T - 1))
        causal = causal & (s[:, None] == s[None, :])
    bc = tl.load(bc_ptr + pid * (L * L) + i[:, None] * L + i[None, :])
    G = tl.zeros((L, L), dtype=tl.float32)
    first = tl.program_id(1) * HG
    for k in range(HG):
        h = first + k
        at = (b * H + h) * C * L + t
        state = (pid * H + h) * (N * P) + n[:, None] * P + p[None, :]
        x = tl.load(x_ptr + row[:, None] * x_row + h * P + p[None, :], mask=ok, other=0.0)
        dy = tl.load(dy_ptr + row[:, None] * (H * P) + h * P + p[None, :], mask=ok, other=0.0)
        S, dS = tl.load(S_ptr + state), tl.load(dS_ptr + state)
        cum, dt = tl.load(cum_ptr + at), tl.load(dt_ptr + at)
        into, out = tl.load(in_ptr + at), tl.load(out_ptr + at)
        decay = tl.where(causal, tl.exp2(tl.minimum(cum[None, :] - cum[:, None], 0.0)), 0.0)
        g = tl.dot(x, tl.trans(dy)) * decay * dt[:, None]
        G += g
        near = tl.dot((bc * decay).to(x.dtype), dy)
        both = g * bc
        dc = tl.sum(both, 0) - tl.sum(both, 1)  # both from the same products: what must cancel cancels exactly
        xf, dyf = x.to(tl.float32), dy.to(tl.float32)
        dc += tl.sum(tl.dot(Ct, S) * dyf, 1) * into
        du = tl.dot(Bt, dS) * out[:, None]
        xdu = tl.sum(xf * du, 1)
        keep = tl.load(keep_ptr + (b * H + h) * C + c)
        left = tl.sum(dt * xdu, 0) + keep * tl.sum(tl.sum(S.to(tl.float32) * dS.to(tl.float32), 1), 0)
        dc -= dt * xdu
        xdu += tl.sum(xf * near, 1)
        D = tl.load(D_ptr + h)
        dx = near * dt[:, None] + (du * dt[:, None] + D * dyf)
        tl.store(dx_ptr + row[:, None] * dx_row + h * P + p[None, :], dx.to(dx_ptr.dtype.element_ty), mask=ok)
        A = -tl.exp(tl.load(A_log_ptr + h))
        da = tl.sum(dc, 0) - tl.cumsum(dc, 0) + dc + left
        draw = (A * da + xdu) * (1.0 - tl.exp(-dt))  # softplus' = 1 - e^{-softplus}
        tl.store(ddt_ptr + row * ddt_row + h, draw.to(ddt_ptr.dtype.element_ty), mask=t < T)
        stat = stat_ptr + (pid * H + h) * 3
        tl.store(stat, tl.sum(dt * da, 0) * A)
        tl.store(stat + 1, tl.sum(draw, 0))
        tl.store(stat + 2, tl.sum(tl.sum(xf * dyf, 1), 0))
    part = pid * tl.num_programs(1) + tl.program_id(1)
    tl.store(G_ptr + part * (L * L) + i[:, None] * L + i[None, :], G)


@triton.jit
def _state_grads(x_ptr, x_row, weight_ptr, dt_ptr, S_ptr, out_ptr, T, H, C, HAS_DT: tl.constexpr,
                 L: tl.constexpr, P: tl.constexpr, N: tl.constexpr, HG: tl.constexpr):
    """sum over HG heads of (weighted x)·S^T: the part of dC that comes from S and dy, or of dB from dS' and x."""
    pid = tl.program_id(0).to(tl.int64)
    b, c = pid // C, pid % C
    i, p, n = tl.arange(0, L), tl.arange(0, P), tl.arange(0, N)
    t = c * L + i
    row = b * T + t
    acc = tl.zeros((L, N), dtype=tl.float32)
    first = tl.program_id(1) * HG
    for k in range(HG):
        h = first + k
        at = (b * H + h) * C * L + t
        x = tl.load(x_ptr + row[:, None] * x_row + h * P + p[None, :], mask=(t < T)[:, None], other=0.0)
        S = tl.load(S_ptr + (pid * H + h) * (N * P) + n[:, None] * P + p[None, :])
        w = tl.load(weight_ptr + at)
        if HAS_DT:
            w *= tl.load(dt_ptr + at)
        acc = tl.dot((x.to(tl.float32) * w[:, None]).to(x.dtype), tl.trans(S), acc)
    part = pid * tl.num_programs(1) + tl.program_id(1)
    tl.store(out_ptr + part * (L * N) + i[:, None] * N + n[None, :], acc)


@triton.jit
def _shared_grads(B_ptr, C_ptr, bc_row, G_ptr, dB_part, dC_part, dB_ptr, dC_ptr, dbc_row, T, C,
                  L: tl.constexpr, N: tl.constexpr, GROUPS: tl.constexpr, PARTS: tl.constexpr):
    """dB and dC of one chunk: the groups' sums, and G against C and B."""
    pid = tl.program_id(0).to(tl.int64)
    b, c = pid // C, pid % C
    i, n = tl.arange(0, L), tl.arange(0, N)
    t = c * L + i
    row = b * T + t
    ok = (t < T)[:, None]
    Bt = tl.load(B_ptr + row[:, None] * bc_row + n[None, :], mask=ok, other=0.0)
    Ct = tl.load(C_ptr + row[:, None] * bc_row + n[None, :], mask=ok, other=0.0)
    G_ji = tl.zeros((L, L), dtype=tl.float32)
    G_ij = tl.zeros((L, L), dtype=tl.float32)
    dB = tl.zeros((L, N), dtype=tl.float32)
    dC = tl.zeros((L, N), dtype=tl.float32)
    for g in range(GROUPS):
        part = pid * GROUPS + g
        G_ji += tl.load(G_ptr + part * (L * L) + i[:, None] * L + i[None, :])
        G_ij += tl.load(G_ptr + part * (L * L) + i[None, :] * L + i[:, None])
    for g in range(PARTS):
        at = (pid * PARTS + g) * (L * N) + i[:, None] * N + n[None, :]
        dB += tl.load(dB_part + at)
        dC += tl.load(dC_part + at)
    dB = tl.dot(G_ji.to(Ct.dtype), Ct, dB)
    dC = tl.dot(G_ij.to(Bt.dtype), Bt, dC)
    tl.store(dB_ptr + row[:, None] * dbc_row + n[None, :], dB.to(dB_ptr.dtype.element_ty), mask=ok)
    tl.store(dC_ptr + row[:, None] * dbc_row + n[None, :], dC.to(dC_ptr.dtype.element_ty), mask=ok)


class Launch(NamedTuple):
    """Fixed launch parameters of each kernel: (heads or n a program, warps, stages)."""

    chunk: int = 64
    walk: tuple[int, int, int] = (128, 4, 3)
    outputs: tuple[int, int, int] = (8, 4, 2)
    grads: tuple[int, int, int] = (40, 8, 1)
    state: tuple[int, int, int] = (40, 4, 3)
    shared: tuple[int, int] = (4, 1)


DEFAULT = Launch()


def heads_per_program(heads: int, wanted: int) -> int:
    return next(g for g in range(min(heads, wanted), 0, -1) if heads % g == 0)


class Sizes(NamedTuple):
    b: int
    t: int
    h: int
    p: int
    n: int
    chunk: int

    @property
    def chunks(self) -> int:
        return -(-self.t // self.chunk)


class Prepared(NamedTuple):
    dt: Tensor
    cum: Tensor
    into: Tensor
    out: Tensor
    keep: Tensor


def prepare(dt_bth: Tensor, bias_h: Tensor, A_log_h: Tensor, seq_bt: Tensor | None, s: Sizes) -> Prepared:
    """dt_bth: raw, a strided view whose last dimension is dense and whose rows are evenly spaced."""
    long = dt_bth.new_empty(4, s.b, s.h, s.chunks * s.chunk, dtype=torch.float32)
    keep = dt_bth.new_empty(s.b, s.h, s.chunks, dtype=torch.float32)
    block = 16
    grid = (s.b * s.chunks, -(-s.h // block))
    _prepare[grid](dt_bth, dt_bth.stride(1), bias_h, A_log_h, seq_bt, *long, keep, s.t, s.h, s.chunks,
                   HAS_SEQ=seq_bt is not None, L=s.chunk, BH=block, num_warps=4)
    return Prepared(*long, keep)


def walk(x_btc: Tensor, B_btn: Tensor, prep: Prepared, s: Sizes, reverse: bool, launch: Launch = DEFAULT) -> Tensor:
    out = x_btc.new_empty(s.b, s.chunks, s.h, s.n, s.p)
    block, warps, stages = launch.walk
    block = min(block, s.n)
    _walk[(s.b * s.h, s.n // block)](
        x_btc, x_btc.stride(1), B_btn, B_btn.stride(1), prep.into if reverse else prep.out, prep.dt, prep.keep, out,
        s.t, s.h, s.chunks, REVERSE=reverse, L=s.chunk, P=s.p, N=s.n, BN=block, num_warps=warps, num_stages=stages)
    return out


def forward(xbc_btc: Tensor, prep: Prepared, D_h: Tensor, seq_bt: Tensor | None, s: Sizes,
            launch: Launch = DEFAULT) -> Tensor:
    """xbc_btc: x (h·p) | B (n) | C (n) after the convolution."""
    i = s.h * s.p
    B, C = xbc_btc[..., i : i + s.n], xbc_btc[..., i + s.n :]
    S = walk(xbc_btc, B, prep, s, False, launch)
    y = xbc_btc.new_empty(s.b, s.t, i)
    wanted, warps, stages = launch.outputs
    group = heads_per_program(s.h, wanted)
    row = xbc_btc.stride(1)
    _outputs[(s.b * s.chunks, s.h // group)](
        xbc_btc, row, B, C, row, prep.dt, prep.cum, prep.into, S, D_h, seq_bt, y, s.t, s.h, s.chunks,
        HAS_SEQ=seq_bt is not None, L=s.chunk, P=s.p, N=s.n, HG=group, num_warps=warps, num_stages=stages)
    return y


def state_grads(x_btc: Tensor, weight: Tensor, prep: Prepared, S: Tensor, s: Sizes, launch: Launch = DEFAULT) -> Tensor:
    wanted, warps, stages = launch.state
    group = heads_per_program(s.h, wanted)
    part = S.new_empty(s.b * s.chunks, s.h // group, s.chunk, s.n, dtype=torch.float32)
    _state_grads[(s.b * s.chunks, s.h // group)](
        x_btc, x_btc.stride(1), weight, prep.dt, S, part, s.t, s.h, s.chunks, HAS_DT=weight is prep.out,
        L=s.chunk, P=s.p, N=s.n, HG=group, num_warps=warps, num_stages=stages)
    return part


def backward(dy_bti: Tensor, xbc_btc: Tensor, prep: Prepared, A_log_h: Tensor, D_h: Tensor, seq_bt: Tensor | None,
             s: Sizes, dxbc_btc: Tensor, ddt_bth: Tensor, launch: Launch = DEFAULT) -> tuple[Tensor, Tensor, Tensor]:
    """Fills dxbc_btc and ddt_bth (raw dt; both may be strided views); returns dA_log, d(bias), dD."""
    i = s.h * s.p
    row, has = xbc_btc.stride(1), seq_bt is not None
    B, C = xbc_btc[..., i : i + s.n], xbc_btc[..., i + s.n :]
    S, dS = walk(xbc_btc, B, prep, s, False, launch), walk(dy_bti, C, prep, s, True, launch)
    wanted, warps, stages = launch.grads
    group = heads_per_program(s.h, wanted)
    programs, groups = s.b * s.chunks, s.h // group
    bc = dy_bti.new_empty(programs, s.chunk, s.chunk, dtype=torch.float32)
    _products[(programs,)](B, C, row, bc, s.t, s.chunks, L=s.chunk, N=s.n, num_warps=4)
    G = dy_bti.new_empty(programs, groups, s.chunk, s.chunk, dtype=torch.float32)
    stat = dy_bti.new_empty(programs, s.h, 3, dtype=torch.float32)
    _grads[(programs, groups)](
        dy_bti, xbc_btc, row, B, C, row, bc, prep.dt, prep.cum, prep.into, prep.out, prep.keep, S, dS, A_log_h, D_h, seq_bt,
        dxbc_btc, dxbc_btc.stride(1), ddt_bth, ddt_bth.stride(1), G, stat, s.t, s.h, s.chunks,
        HAS_SEQ=has, L=s.chunk, P=s.p, N=s.n, HG=group, num_warps=warps, num_stages=stages)
    dC_part = state_grads(dy_bti, prep.into, prep, S, s, launch)
    dB_part = state_grads(xbc_btc, prep.out, prep, dS, s, launch)
    _shared_grads[(programs,)](
        B, C, row, G, dB_part, dC_part, dxbc_btc[..., i : i + s.n], dxbc_btc[..., i + s.n :], dxbc_btc.stride(1), s.t,
        s.chunks, L=s.chunk, N=s.n, GROUPS=groups, PARTS=dB_part.shape[1],
        num_warps=launch.shared[0], num_stages=launch.shared[1])
    return tuple(stat.sum(0).unbind(-1))
