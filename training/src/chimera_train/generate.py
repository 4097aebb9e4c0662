"""A simple cached sampler, to look at what a model writes while it trains. The real one is the Rust engine.

The model's own modules do the prefill's arithmetic one token at a time: a recurrent state per Mamba block,
keys and values per attention block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from chimera_train import rope
from chimera_train.chatml import ENDOFTEXT, IM_END, ChatTokenizer
from chimera_train.config import model_from_dict
from chimera_train.model import Attention, Chimera, Mamba
from chimera_train.run import load_latest


@dataclass
class State:
    """What one row of text has left in the model. All rows of a batch advance together."""

    conv: dict[int, Tensor] = field(default_factory=dict)  # block → (b, c, k-1), oldest first
    ssm: dict[int, Tensor] = field(default_factory=dict)  # block → (b, h, p, n)
    keys: dict[int, Tensor] = field(default_factory=dict)  # block → (b, g, t, e)
    values: dict[int, Tensor] = field(default_factory=dict)
    position: int = 0


def _mamba_step(m: Mamba, h_bd: Tensor, state: State, i: int) -> Tensor:
    z_bi, xbc_bc, dt_bh = m.in_proj(h_bd).split([m.d_inner, m.d_xbc, m.heads], dim=-1)
    past = state.conv.get(i)
    if past is None:
        past = xbc_bc.new_zeros(*xbc_bc.shape, m.conv1d.weight.shape[-1] - 1)
    window_bck = torch.cat([past, xbc_bc.unsqueeze(-1)], dim=-1)
    state.conv[i] = window_bck[..., 1:]
    xbc_bc = F.silu((window_bck * m.conv1d.weight[:, 0]).sum(-1) + m.conv1d.bias).to(h_bd.dtype)
    x_bi, B_bn, C_bn = xbc_bc.float().split([m.d_inner, m.d_state, m.d_state], dim=-1)
    x_bhp = x_bi.view(-1, m.heads, m.head_dim)
    dt_bh = F.softplus(dt_bh.float() + m.dt_bias)
    old = state.ssm.get(i)
    inflow = torch.einsum("bhp,bn->bhpn", x_bhp * dt_bh.unsqueeze(-1), B_bn)
    decay = torch.exp(-dt_bh * torch.exp(m.A_log))[..., None, None]
    state.ssm[i] = inflow if old is None else old * decay + inflow
    y_bhp = torch.einsum("bhpn,bn->bhp", state.ssm[i], C_bn) + m.D.view(-1, 1) * x_bhp
    return m.out_proj(m.norm(y_bhp.reshape(h_bd.shape[0], -1).to(h_bd.dtype), z_bi))


def _attention_step(a: Attention, h_bd: Tensor, state: State, i: int, cos_e: Tensor, sin_e: Tensor) -> Tensor:
    b = h_bd.shape[0]
    q = a.q_proj(h_bd).view(b, a.heads, 1, a.head_dim)
    k = a.k_proj(h_bd).view(b, a.kv_heads, 1, a.head_dim)
    v = a.v_proj(h_bd).view(b, a.kv_heads, 1, a.head_dim)
    q, k = rope.rotate(q, cos_e, sin_e), rope.rotate(k, cos_e, sin_e)
    if i in state.keys:
        k, v = torch.cat([state.keys[i], k], dim=2), torch.cat([state.values[i], v], dim=2)
    state.keys[i], state.values[i] = k, v
    y = F.scaled_dot_product_attention(q, k, v, scale=a.scale, enable_gqa=True)
    return a.o_proj(y.reshape(b, -1))


@torch.no_grad()
def step(model: Chimera, ids_b: Tensor, state: State) -> Tensor:
    """One token for every row → logits (b, v)."""
    c, t = model.config, state.position
    embedding_vd = model.embedding_vd()
    x_bd = F.embedding(ids_b, embedding_vd) * c.embedding_multiplier
    for i, block in enumerate(model.model.layers):
        h_bd = block.input_layernorm(x_bd)
        if block.is_attention:
            o_bd = _attention_step(block.self_attn, h_bd, state, i, model.cos_te[t], model.sin_te[t])
        else:
            o_bd = _mamba_step(block.mamba, h_bd, state, i)
        x_bd = x_bd + o_bd * block.residual
        x_bd = x_bd + block.shared_mlp(block.post_attention_layernorm(x_bd)) * block.residual
    state.position += 1
    return F.linear(model.model.norm(x_bd), embedding_vd) / c.logits_scaling


@dataclass(frozen=True)
class Sampling:
    temperature: float = 0.7
    top_k: int = 40
    top_p: float = 0.9
    min_p: float = 0.05
    repetition_penalty: float = 1.1
    window: int = 128
    max_tokens: int = 200


def choose(logits_v: Tensor, recent: list[int], s: Sampling, g: torch.Generator) -> int:
    logits_v = logits_v.float().cpu().clone()
    seen = torch.tensor(sorted(set(recent[-s.window :])), dtype=torch.long)
    if seen.numel() and s.repetition_penalty != 1.0:
        old = logits_v[seen]
        logits_v[seen] = torch.where(old > 0, old / s.repetition_penalty, old * s.repetition_penalty)
    if s.temperature <= 0:
        return int(logits_v.argmax())
    p_k, ids_k = torch.softmax(logits_v / s.temperature, -1).topk(min(s.top_k or logits_v.numel(), logits_v.numel()))
    keep = (p_k.cumsum(-1) - p_k < s.top_p) & (p_k >= s.min_p * p_k[0])
    return int(ids_k[torch.multinomial(p_k * keep, 1, generator=g)])


def generate(model: Chimera, prompt: list[int], s: Sampling, seed: int = 0) -> list[int]:
    device = model.cos_te.device
    g, state, out = torch.Generator().manual_seed(seed), State(), []
    for token in prompt:
        logits = step(model, torch.tensor([token], device=device), state)
    while len(out) < s.max_tokens and state.position < model.config.context_length:
        token = choose(logits[0], out, s, g)
        if token in (IM_END, ENDOFTEXT):
            break
        out.append(token)
        logits = step(model, torch.tensor([token], device=device), state)
    return out


def load_model(run: str, device: torch.device | None = None) -> Chimera:
    state = load_latest(Path(run))
    if state is None:
        raise FileNotFoundError(f"no complete checkpoint in {run}")
    model = Chimera(model_from_dict(state["model_config"]))
    model.load_state_dict(state["average"] or state["model"])
    return model.to(device or torch.device("cuda" if torch.cuda.is_available() else "cpu")).eval()


def sample(raw: dict[str, Any]) -> None:
    """`sample: {run: …, chat: true, qat: false, prompts: [...]}`, `tokenizer:`, optional `sampling: {…}`."""
    options = raw["sample"]
    tokenizer, model = ChatTokenizer(raw["tokenizer"]), load_model(options["run"])
    if options.get("qat"):
        model.set_qat("q4_0", "q6_k")
    settings = Sampling(**raw.get("sampling", {}))
    for i, text in enumerate(options["prompts"]):
        chat = options.get("chat", True)
        prompt = tokenizer.prompt([{"role": "user", "content": text}]) if chat else [ENDOFTEXT, *tokenizer.text(text)]
        answer = tokenizer.decode(generate(model, prompt, settings, seed=i))
        print(f"> {text}\n{answer}\n", flush=True)
