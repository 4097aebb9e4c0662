"""What a model is (`ModelConfig`), how many parameters it has, and how many tokens it deserves.

Letters used for sizes everywhere in this package (and in the Rust engine):
  b batch, t time, d model width, i inner width (2d), h SSM heads, p SSM head size, n SSM state size,
  k conv taps, f feed-forward width, a attention heads, g KV heads, e attention head size, v vocabulary.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class RopeConfig:
    """`rope_parameters` of Transformers. LongRoPE carries one factor set, used at every length:
    llama.cpp's granitehybrid knows only a single `rope_freqs` tensor."""

    rope_type: str = "default"  # default | yarn | longrope
    theta: float = 10_000.0
    factor: float = 1.0
    original_context: int = 2048
    long_factor: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.rope_type not in ("default", "yarn", "longrope"):
            raise ValueError(f"unknown rope_type {self.rope_type!r}")

    def to_hf(self) -> dict[str, Any]:
        out: dict[str, Any] = {"rope_type": self.rope_type, "rope_theta": self.theta}
        if self.rope_type != "default":
            out |= {"factor": self.factor, "original_max_position_embeddings": self.original_context}
        if self.rope_type == "longrope":
            out |= {"short_factor": list(self.long_factor), "long_factor": list(self.long_factor)}
        return out


@dataclass(frozen=True)
class ModelConfig:
    """A dense GraniteMoeHybrid. Derived sizes are properties, never stored twice."""

    vocab_size: int = 32_768
    d_model: int = 768
    n_layer: int = 10
    attention_layers: tuple[int, ...] = (3, 7)
    n_head: int = 12
    n_kv_head: int = 4
    ssm_heads: int = 24
    ssm_head_dim: int = 64
    d_state: int = 128
    d_conv: int = 4
    d_ff: int = 1536
    context_length: int = 4096
    norm_eps: float = 1e-5
    embedding_multiplier: float = 1.0
    residual_multiplier: float = 1.0
    logits_scaling: float = 1.0
    rope: RopeConfig = field(default_factory=RopeConfig)
    ssd_chunk: int = 128

    def __post_init__(self) -> None:
        if self.ssm_heads * self.ssm_head_dim != 2 * self.d_model:
            raise ValueError("llama.cpp demands ssm_heads * ssm_head_dim == 2 * d_model")
        if self.d_model % self.n_head or self.n_head % self.n_kv_head:
            raise ValueError("d_model must divide by n_head, n_head by n_kv_head")
        if self.rope.rope_type == "longrope" and len(self.rope.long_factor) != self.head_dim // 2:
            raise ValueError("long_factor needs head_dim / 2 entries")

    @property
    def d_inner(self) -> int:
        return 2 * self.d_model

    @property
    def d_xbc(self) -> int:
        return self.d_inner + 2 * self.d_state

    @property
    def d_in_proj(self) -> int:
        return self.d_inner + self.d_xbc + self.ssm_heads

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_head

    @property
    def attention_multiplier(self) -> float:
        """Transformers defaults this to 1.0; the usual softmax scale must be written out."""
        return 1.0 / math.sqrt(self.head_dim)

    def is_attention(self, layer: int) -> bool:
        return layer in self.attention_layers


def starter(**changes: Any) -> ModelConfig:
    """The bundled model: 94M parameters, about 61 MB at Q4_0 with a Q6_K embedding."""
    return ModelConfig(**changes)


def tiny(**changes: Any) -> ModelConfig:
    """The fixture: the same structure with nothing in it."""
    small = dict(vocab_size=1024, d_model=128, n_layer=4, attention_layers=(2,), n_head=4, n_kv_head=2,
                 ssm_heads=8, ssm_head_dim=32, d_state=32, d_ff=256, context_length=512, ssd_chunk=32)
    return ModelConfig(**(small | changes))


def flagship(**changes: Any) -> ModelConfig:
    """chimera-700m (DESIGN.md §2.2)."""
    big = dict(vocab_size=49_152, d_model=1280, n_layer=32, attention_layers=(6, 14, 22, 30), n_head=20,
               n_kv_head=4, ssm_heads=40, ssm_head_dim=64, d_state=128, d_ff=2816)
    return ModelConfig(**(big | changes))


PRESETS = {"starter": starter, "tiny": tiny, "700m": flagship}


def model_from_dict(raw: dict[str, Any]) -> ModelConfig:
    """`{preset: starter, n_layer: 12, rope: {...}}`: a preset and what differs from it."""
    raw = dict(raw)
    preset = PRESETS[raw.pop("preset", "starter")]
    if "rope" in raw:
        rope = dict(raw["rope"])
        rope["long_factor"] = tuple(rope.get("long_factor", ()))
        raw["rope"] = RopeConfig(**rope)
    if "attention_layers" in raw:
        raw["attention_layers"] = tuple(raw["attention_layers"])
    return preset(**raw)


def to_dict(config: Any) -> dict[str, Any]:
    return dataclasses.asdict(config)


def parameter_counts(c: ModelConfig) -> dict[str, int]:
    mamba = c.d_in_proj * c.d_model + c.d_xbc * (c.d_conv + 1) + 3 * c.ssm_heads + c.d_inner + c.d_inner * c.d_model
    attention = 2 * c.d_model * c.d_model + 2 * c.n_kv_head * c.head_dim * c.d_model
    feed_forward = 3 * c.d_model * c.d_ff
    n_attention = len(c.attention_layers)
    embedding = c.vocab_size * c.d_model
    blocks = (c.n_layer - n_attention) * mamba + n_attention * attention + c.n_layer * (feed_forward + 2 * c.d_model)
    return {"embedding": embedding, "blocks": blocks, "total": embedding + blocks + c.d_model}


def token_budget(c: ModelConfig, tokens_per_parameter: float = 20.0) -> int:
    """Chinchilla's 20 tokens a parameter (Hoffmann et al. 2022). Small models that are served often
    deserve far more; 10.5 per (matrix + head) parameter was nanochat's compute-optimal point."""
    return int(tokens_per_parameter * parameter_counts(c)["total"])


def flops_per_token(c: ModelConfig, context: int = 2048, chunk: int = 128) -> float:
    """Forward and backward: 6 per weight that is multiplied (the tied embedding once, as the head),
    plus the quadratic part of attention and the chunked scan, each 3 times its forward."""
    counts = parameter_counts(c)
    attention = 2 * 2 * c.d_model * context / 2 * len(c.attention_layers)
    n_mamba = c.n_layer - len(c.attention_layers)
    scan = n_mamba * (2 * chunk * c.d_state + 2 * chunk * c.d_inner + 4 * c.d_inner * c.d_state)
    return 6 * (counts["blocks"] + counts["embedding"]) + 3 * (attention + scan)


def load_yaml(path: str | Path) -> dict[str, Any]:
    return yaml.safe_load(Path(path).read_text("utf-8")) or {}


def build(cls: type, raw: dict[str, Any] | None) -> Any:
    """A dataclass from a mapping; unknown keys are errors, because a misspelt option trains the wrong model."""
    raw = dict(raw or {})
    known = {f.name: f for f in dataclasses.fields(cls)}
    unknown = sorted(set(raw) - set(known))
    if unknown:
        raise ValueError(f"{cls.__name__}: unknown option(s) {', '.join(unknown)}")
    for key, value in raw.items():
        if known[key].type in ("float", "int") and isinstance(value, str):
            raise ValueError(f"{cls.__name__}.{key}: {value!r} is text, not a number (YAML wants 1.5e+9, or the digits)")
    return cls(**{k: tuple(v) if isinstance(v, list) and str(known[k].type).startswith("tuple") else v
                  for k, v in raw.items()})
