"""The hybrid: Mamba-2 blocks and a few attention blocks, each followed by a SwiGLU.

Module names are those of `GraniteMoeHybridForCausalLM`, so `state_dict()` *is* the checkpoint that
Transformers loads. Size letters are in config.py.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from chimera_train import kernels, rope
from chimera_train.config import ModelConfig
from chimera_train.loss import linear_cross_entropy
from chimera_train.quant import fake_quant
from chimera_train.ssd import causal_conv, ssd


class Linear(nn.Linear):
    """Without bias; `grid` names the quantization grid its weight is seen through (None: as it is)."""

    def __init__(self, d_in: int, d_out: int) -> None:
        super().__init__(d_in, d_out, bias=False)
        self.grid: str | None = None

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, fake_quant(self.weight, self.grid))


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        f = x.float()
        f = f * torch.rsqrt(f.square().mean(-1, keepdim=True) + self.eps)
        return (self.weight * f).to(x.dtype)


class GatedRMSNorm(RMSNorm):
    """The gate comes before the norm (mamba-ssm's norm_before_gate=False)."""

    def forward(self, y: Tensor, z: Tensor) -> Tensor:  # type: ignore[override]
        f = y.float() * F.silu(z.float())
        f = f * torch.rsqrt(f.square().mean(-1, keepdim=True) + self.eps)
        return (self.weight * f).to(y.dtype)


class Conv(nn.Module):
    """Holds the depthwise filter under the names of nn.Conv1d; ssd.causal_conv applies it."""

    def __init__(self, channels: int, taps: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, 1, taps))
        self.bias = nn.Parameter(torch.empty(channels))


class Mamba(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.heads, self.head_dim, self.chunk = c.ssm_heads, c.ssm_head_dim, c.ssd_chunk
        self.d_inner, self.d_state, self.d_xbc = c.d_inner, c.d_state, c.d_xbc
        self.in_proj = Linear(c.d_model, c.d_in_proj)  # rows: z (i) | x (i) | B (n) | C (n) | dt (h)
        self.conv1d = Conv(c.d_xbc, c.d_conv)
        self.dt_bias = nn.Parameter(torch.empty(c.ssm_heads))
        self.A_log = nn.Parameter(torch.empty(c.ssm_heads))
        self.D = nn.Parameter(torch.empty(c.ssm_heads))
        self.norm = GatedRMSNorm(c.d_inner, c.norm_eps)
        self.out_proj = Linear(c.d_inner, c.d_model)
        self.kernel = "mamba-ssm"

    def forward(self, h_btd: Tensor, seq_bt: Tensor | None) -> Tensor:
        b, t, _ = h_btd.shape
        if self.kernel == "chimera" and kernels.run_on(h_btd):
            from chimera_train.kernels.mixer import mixer

            return self.out_proj(mixer(self.in_proj(h_btd), self.conv1d.weight, self.conv1d.bias, self.dt_bias, self.A_log,
                                       self.D, self.norm.weight, self.norm.eps, self.d_state, seq_bt))
        z_bti, xbc_btc, dt_bth = self.in_proj(h_btd).split([self.d_inner, self.d_xbc, self.heads], dim=-1)
        xbc_btc = F.silu(causal_conv(xbc_btc, self.conv1d.weight, self.conv1d.bias, seq_bt)).to(z_bti.dtype)
        x_bti, B_btn, C_btn = xbc_btc.split([self.d_inner, self.d_state, self.d_state], dim=-1)
        dt_bth = F.softplus(dt_bth.float() + self.dt_bias)
        y_bthp = ssd(x_bti.view(b, t, self.heads, self.head_dim), dt_bth, -torch.exp(self.A_log.float()),
                     B_btn, C_btn, self.D.float(), self.chunk, seq_bt)
        return self.out_proj(self.norm(y_bthp.reshape(b, t, self.d_inner), z_bti))


class Attention(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = c.n_head, c.n_kv_head, c.head_dim
        self.scale = c.attention_multiplier
        self.q_proj = Linear(c.d_model, c.n_head * c.head_dim)
        self.k_proj = Linear(c.d_model, c.n_kv_head * c.head_dim)
        self.v_proj = Linear(c.d_model, c.n_kv_head * c.head_dim)
        self.o_proj = Linear(c.n_head * c.head_dim, c.d_model)

    def forward(self, h_btd: Tensor, cos_te: Tensor, sin_te: Tensor, mask_b1tt: Tensor | None) -> Tensor:
        b, t, d = h_btd.shape
        q = self.q_proj(h_btd).view(b, t, self.heads, self.head_dim).transpose(1, 2)
        k = self.k_proj(h_btd).view(b, t, self.kv_heads, self.head_dim).transpose(1, 2)
        v = self.v_proj(h_btd).view(b, t, self.kv_heads, self.head_dim).transpose(1, 2)
        q, k = rope.rotate(q, cos_te, sin_te), rope.rotate(k, cos_te, sin_te)
        if mask_b1tt is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.scale, enable_gqa=True)
        else:  # flash takes no mask, and the memory-efficient kernel no grouped heads
            k, v = (a.repeat_interleave(self.heads // self.kv_heads, dim=1) for a in (k, v))
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask_b1tt, scale=self.scale)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, d))


class FeedForward(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.input_linear = Linear(c.d_model, 2 * c.d_ff)  # rows: gate | up
        self.output_linear = Linear(c.d_ff, c.d_model)

    def forward(self, h_btd: Tensor) -> Tensor:
        gate, up = self.input_linear(h_btd).chunk(2, dim=-1)
        return self.output_linear(F.silu(gate) * up)


class Block(nn.Module):
    def __init__(self, c: ModelConfig, attention: bool) -> None:
        super().__init__()
        self.residual = c.residual_multiplier
        self.input_layernorm = RMSNorm(c.d_model, c.norm_eps)
        if attention:
            self.self_attn = Attention(c)
        else:
            self.mamba = Mamba(c)
        self.is_attention = attention
        self.post_attention_layernorm = RMSNorm(c.d_model, c.norm_eps)
        self.shared_mlp = FeedForward(c)

    def forward(self, x_btd: Tensor, cos_te: Tensor, sin_te: Tensor, seq_bt: Tensor | None,
                mask_b1tt: Tensor | None) -> Tensor:
        h_btd = self.input_layernorm(x_btd)
        if self.is_attention:
            o_btd = self.self_attn(h_btd, cos_te, sin_te, mask_b1tt)
        else:
            o_btd = self.mamba(h_btd, seq_bt)
        x_btd = x_btd + o_btd * self.residual
        return x_btd + self.shared_mlp(self.post_attention_layernorm(x_btd)) * self.residual


class Trunk(nn.Module):
    """`model.` of the checkpoint: embedding, blocks, last norm."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.d_model)
        self.layers = nn.ModuleList(Block(c, c.is_attention(i)) for i in range(c.n_layer))
        self.norm = RMSNorm(c.d_model, c.norm_eps)


class Chimera(nn.Module):
    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        self.config = c
        self.model = Trunk(c)
        self.embedding_grid: str | None = None
        cos, sin = rope.cos_sin(c.rope, c.head_dim, c.context_length)
        self.register_buffer("cos_te", cos, persistent=False)
        self.register_buffer("sin_te", sin, persistent=False)
        self.loss_rows, self.loss_kernel = 16_384, "torch"

    def embedding_vd(self) -> Tensor:
        """Tied: rows looked up on the way in, logits on the way out, quantized once for both."""
        return fake_quant(self.model.embed_tokens.weight, self.embedding_grid)

    def hidden(self, ids_bt: Tensor, embedding_vd: Tensor, seq_bt: Tensor | None, attention_docs: bool) -> Tensor:
        t = ids_bt.shape[1]
        x_btd = F.embedding(ids_bt, embedding_vd) * self.config.embedding_multiplier
        if torch.is_autocast_enabled(ids_bt.device.type):
            x_btd = x_btd.to(torch.get_autocast_dtype(ids_bt.device.type))
        mask = document_mask(seq_bt) if seq_bt is not None and attention_docs else None
        for block in self.model.layers:
            x_btd = block(x_btd, self.cos_te[:t], self.sin_te[:t], seq_bt, mask)
        return self.model.norm(x_btd)

    def forward(self, ids_bt: Tensor, seq_bt: Tensor | None = None) -> Tensor:
        """Logits of every position. `seq_bt` numbers the documents of a row; they do not see each other."""
        embedding_vd = self.embedding_vd()
        h_btd = self.hidden(ids_bt, embedding_vd, seq_bt, True)
        return F.linear(h_btd, embedding_vd) / self.config.logits_scaling

    def loss_sum(self, ids_bt: Tensor, target_bt: Tensor, seq_bt: Tensor | None = None, *, z_weight: float = 0.0,
                 attention_docs: bool = True) -> Tensor:
        """Summed cross entropy (nats) of the targets that are not IGNORE."""
        embedding_vd = self.embedding_vd()
        h_btd = self.hidden(ids_bt, embedding_vd, seq_bt, attention_docs)
        return linear_cross_entropy(h_btd.reshape(-1, h_btd.shape[-1]), embedding_vd, target_bt.reshape(-1),
                                    logit_scale=1.0 / self.config.logits_scaling, z_weight=z_weight, rows=self.loss_rows,
                                    kernel=self.loss_kernel)

    def set_kernels(self, mixer: str, loss: str) -> None:
        """Whose kernels a GPU runs; every choice computes the same, and on a CPU all are plain PyTorch."""
        if mixer not in ("mamba-ssm", "chimera") or loss not in ("torch", "chimera"):
            raise ValueError(f"unknown kernels: mixer {mixer!r}, loss {loss!r}")
        c = self.config
        if mixer == "chimera" and (c.d_conv != 4 or any(n < 16 or n & (n - 1) for n in (c.ssm_head_dim, c.d_state))):
            raise ValueError("the chimera mixer takes 4 conv taps, and head and state sizes that are powers of two from 16 on")
        for module in self.modules():
            if isinstance(module, Mamba):
                module.kernel = mixer
        self.loss_kernel = loss

    def set_qat(self, linear: str | None, embedding: str | None) -> None:
        """See every matrix through its shipping grid (None switches off). Norms, conv and 1-D stay F32."""
        self.embedding_grid = embedding
        for module in self.modules():
            if isinstance(module, Linear):
                module.grid = linear

    def compile_blocks(self, backend: str = "inductor") -> None:
        """One graph per kind of block, reused by every block of that kind."""
        # Rows padded to 128 bytes would have to be copied before they go into an opaque kernel.
        torch._inductor.config.comprehensive_padding = False
        for block in self.model.layers:
            block.compile(fullgraph=True, dynamic=False, backend=backend)


def document_mask(seq_bt: Tensor) -> Tensor:
    """(b, 1, t, t), true where the key is in the query's document and not after it."""
    t = seq_bt.shape[1]
    causal_tt = torch.ones(t, t, dtype=torch.bool, device=seq_bt.device).tril()
    return ((seq_bt[:, :, None] == seq_bt[:, None, :]) & causal_tt).unsqueeze(1)


OUTPUT_PROJECTIONS = ("out_proj.weight", "o_proj.weight", "output_linear.weight")


@torch.no_grad()
def init_weights(model: Chimera, seed: int, zero_outputs: bool = True, std: float = 0.02) -> None:
    """Matrices N(0, std); projections back into the residual zero (every block starts as the identity) or scaled
    by 1/sqrt(2 layers); conv, dt, A and D as in Mamba-2."""
    g = torch.Generator().manual_seed(seed)
    c = model.config
    for name, p in model.named_parameters():
        if name.endswith(OUTPUT_PROJECTIONS):
            _normal(p, 0.0 if zero_outputs else std / math.sqrt(2 * c.n_layer), g)
        elif "conv1d" in name:  # nn.Conv1d's own: U(±1/sqrt(taps))
            _uniform(p, -1 / math.sqrt(c.d_conv), 1 / math.sqrt(c.d_conv), g)
        elif name.endswith("dt_bias"):  # softplus(dt_bias) log-uniform in [1e-3, 1e-1]
            _uniform(p, math.log(1e-3), math.log(1e-1), g)
            dt = p.exp().clamp(min=1e-4)
            p.copy_(dt + torch.log(-torch.expm1(-dt)))
        elif name.endswith("A_log"):  # A in [-16, -1]
            _uniform(p, 1.0, 16.0, g)
            p.log_()
        elif name.endswith(".D") or "norm" in name:
            p.fill_(1.0)
        else:
            _normal(p, std, g)


def _normal(p: Tensor, std: float, g: torch.Generator) -> None:
    p.copy_(torch.randn(p.shape, generator=g) * std)


def _uniform(p: Tensor, low: float, high: float, g: torch.Generator) -> None:
    p.copy_(torch.rand(p.shape, generator=g) * (high - low) + low)
