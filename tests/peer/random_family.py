"""Random models of the other families, by gguf-py, with the tensor names and shapes that llama.cpp asks for.

python random_family.py OUT.gguf [--variant falcon-h1] [--dtype F32|F16|BF16|Q8_0|Q4_0] [--seed 1]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import gguf
import numpy as np
from random_model import Vocabulary, add_vocabulary, save

Array = tuple[str, np.ndarray, bool]


@dataclass(frozen=True)
class Shape:
    """Block i is what `blocks[i]` says: a attention, m Mamba-2, b both, each before an FFN; A, M, F stand alone."""

    arch: str
    blocks: str
    d: int = 128
    ff: int = 256
    heads: int = 4
    kv: int = 2
    head_dim: int = 32
    ssm_heads: int = 4
    ssm_dim: int = 48
    state: int = 32
    groups: int = 1
    tied: bool = True
    bias: bool = False
    ssm_norm: bool = True
    rope_freqs: bool = False
    experts: int = 0
    used: int = 0
    shared: int = 0
    keys: dict[str, object] = field(default_factory=dict)

    @property
    def inner(self) -> int:
        return self.ssm_heads * self.ssm_dim


LLAMA = Shape("llama", "aaa", keys={"rope.freq_base": 100_000.0, "rope.dimension_count": 32})
FALCON = Shape("falcon-h1", "bbb", groups=2, keys={"rope.freq_base": 1e11})
NEMOTRON = Shape("nemotron_h", "MFAMF", groups=2, keys={"attention.layer_norm_epsilon": 1e-5})
EXPERTS = Shape("granitehybrid", "mam", ssm_heads=8, ssm_dim=32, experts=8, used=3, shared=64)
VARIANTS: dict[str, Shape] = {
    "llama": LLAMA,
    "llama_untied": replace(LLAMA, tied=False, rope_freqs=True),
    "llama_bias": replace(LLAMA, bias=True, kv=4),
    "llama_wide": replace(LLAMA, head_dim=80, kv=1, keys={"rope.freq_base": 1e4, "rope.dimension_count": 80}),
    "llama_yarn": replace(
        LLAMA,
        keys={
            "rope.dimension_count": 32,
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 128,
        },
    ),
    "falcon-h1": FALCON,
    "falcon-h1_no_norm": replace(FALCON, ssm_norm=False, groups=1, tied=False, head_dim=64, ssm_dim=64, ssm_heads=3),
    "falcon-h1_partial": replace(FALCON, keys={"rope.freq_base": 1e4, "rope.dimension_count": 16}),
    "nemotron_h": NEMOTRON,
    "nemotron_h_wide": replace(NEMOTRON, head_dim=96, heads=2, kv=1, groups=4, ssm_heads=8, ssm_dim=80, tied=False),
    "granite_experts": EXPERTS,
    "granite_experts_alone": replace(EXPERTS, shared=0, used=8, keys={"rope.scaling.finetuned": False}),
    "granite_experts_scaled": replace(
        EXPERTS, keys={"attention.scale": 0.11, "embedding_scale": 3.0, "residual_scale": 0.4, "logit_scale": 2.5}
    ),
}


def add_metadata(writer: gguf.GGUFWriter, s: Shape) -> None:
    def add(name: str, value: object) -> None:
        kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        (writer.add_array if isinstance(value, list) else kinds[type(value)])(f"{s.arch}.{name}", value)

    per_block_kv = [s.kv if kind in "aAb" else 0 for kind in s.blocks]
    per_block_ff = [0 if kind in "AM" else s.ff for kind in s.blocks]
    numbers = {
        "block_count": len(s.blocks),
        "context_length": 512,
        "embedding_length": s.d,
        "attention.head_count": s.heads,
        "attention.key_length": s.head_dim,
        "attention.value_length": s.head_dim,
        "attention.layer_norm_rms_epsilon": 1e-5,
        "feed_forward_length": per_block_ff if s.arch == "nemotron_h" else s.ff,
        "attention.head_count_kv": s.kv if s.arch in ("llama", "falcon-h1") else per_block_kv,
    }
    if s.arch != "llama":
        numbers |= {
            "ssm.conv_kernel": 4,
            "ssm.inner_size": s.inner,
            "ssm.state_size": s.state,
            "ssm.time_step_rank": s.ssm_heads,
            "ssm.group_count": s.groups,
        }
    if s.experts:
        numbers |= {"expert_count": s.experts, "expert_used_count": s.used}
        numbers |= {"expert_shared_feed_forward_length": s.shared} if s.shared else {}
    for name, value in (numbers | s.keys).items():
        add(name, value)


@dataclass
class Draw:
    """Sizes keep activations near 1, so that errors show."""

    s: Shape
    rng: np.random.Generator

    def matrix(self, name: str, rows: int, columns: int, stack: int = 0) -> Array:
        shape = (stack, rows, columns) if stack else (rows, columns)
        return name, self.rng.normal(0, columns**-0.5, shape), True

    def norm(self, name: str, *shape: int) -> Array:
        return name, 1 + 0.2 * self.rng.normal(size=shape), False

    def plain(self, name: str, array: np.ndarray) -> Array:
        return name, array, False

    def model(self, n_vocab: int) -> Iterator[Array]:
        s = self.s
        yield "token_embd.weight", self.rng.normal(0, 1, (n_vocab, s.d)) * s.d**-0.5, True
        yield self.norm("output_norm.weight", s.d)
        if not s.tied:
            yield self.matrix("output.weight", n_vocab, s.d)
        if s.rope_freqs:
            yield self.plain("rope_freqs.weight", np.linspace(1, 8, s.head_dim // 2))
        for i, kind in enumerate(s.blocks):
            yield from self.block(f"blk.{i}.", kind)

    def block(self, blk: str, kind: str) -> Iterator[Array]:
        s = self.s
        yield self.norm(blk + "attn_norm.weight", s.d)
        if kind in "mMb":
            yield from self.mamba(blk)
        if kind in "aAb":
            yield from self.attention(blk)
        if kind == "F":
            yield self.matrix(blk + "ffn_up.weight", s.ff, s.d)
            yield self.matrix(blk + "ffn_down.weight", s.d, s.ff)
        elif kind in "amb":
            yield self.norm(blk + ("ffn_norm" if s.arch == "falcon-h1" else "ffn_norm.weight"), s.d)
            yield from self.experts(blk) if s.experts else self.gated(blk, "", s.ff)

    def gated(self, blk: str, suffix: str, ff: int, stack: int = 0) -> Iterator[Array]:
        yield self.matrix(f"{blk}ffn_gate{suffix}.weight", ff, self.s.d, stack)
        yield self.matrix(f"{blk}ffn_up{suffix}.weight", ff, self.s.d, stack)
        yield self.matrix(f"{blk}ffn_down{suffix}.weight", self.s.d, ff, stack)

    def experts(self, blk: str) -> Iterator[Array]:
        s = self.s
        yield self.plain(blk + "ffn_gate_inp.weight", self.rng.normal(0, 2 * s.d**-0.5, (s.experts, s.d)))
        yield from self.gated(blk, "_exps", s.ff, s.experts)
        if s.shared:
            yield from self.gated(blk, "_shexp", s.shared)

    def attention(self, blk: str) -> Iterator[Array]:
        s = self.s
        q, kv = s.heads * s.head_dim, s.kv * s.head_dim
        for name, rows, columns in [("q", q, s.d), ("k", kv, s.d), ("v", kv, s.d), ("output", s.d, q)]:
            yield self.matrix(f"{blk}attn_{name}.weight", rows, columns)
            if s.bias:
                yield self.plain(f"{blk}attn_{name}.bias", self.rng.normal(0, 0.3, rows))

    def mamba(self, blk: str) -> Iterator[Array]:
        s, rng = self.s, self.rng
        conv_dim = s.inner + 2 * s.groups * s.state
        yield self.matrix(blk + "ssm_in.weight", s.inner + conv_dim + s.ssm_heads, s.d)
        yield self.plain(blk + "ssm_conv1d.weight", rng.normal(0, 0.5, (conv_dim, 4)))
        yield self.plain(blk + "ssm_conv1d.bias", rng.normal(0, 0.1, conv_dim))
        yield self.plain(blk + "ssm_dt.bias", rng.uniform(-4, 1, s.ssm_heads))
        yield self.plain(blk + "ssm_a", -rng.uniform(0.5, 8, (s.ssm_heads, 1)))
        yield self.plain(blk + "ssm_d", rng.normal(1, 0.2, (s.ssm_heads, 1)))
        if s.ssm_norm:
            yield self.norm(blk + "ssm_norm.weight", s.groups, s.inner // s.groups)
        yield self.matrix(blk + "ssm_out.weight", s.d, s.inner)


def write(
    path: Path,
    variant: str,
    dtype: str = "F32",
    seed: int = 1,
    vocabulary: Vocabulary | None = None,
    pre: str = "qwen35",
) -> Path:
    shape, vocabulary = VARIANTS[variant], vocabulary or Vocabulary.of_bytes()
    writer = gguf.GGUFWriter(path, shape.arch)
    add_metadata(writer, shape)
    add_vocabulary(writer, vocabulary, pre)
    return save(writer, path, Draw(shape, np.random.default_rng(seed)).model(len(vocabulary.tokens)), dtype)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, default="llama")
    parser.add_argument("--dtype", choices=["F32", "F16", "BF16", "Q8_0", "Q4_0"], default="F32")
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    write(a.out, a.variant, a.dtype, a.seed)


if __name__ == "__main__":
    main()
