"""Random `granitehybrid` models written by gguf-py, so that neither the reader nor the engine is tested on our own writer.

python random_model.py OUT.gguf [--variant yarn] [--dtype F32|F16|BF16|Q8_0|Q4_0] [--tokenizer tokenizer.json] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np

ARCH = "granitehybrid"


@dataclass(frozen=True)
class Shape:
    d: int = 128
    ff: int = 256
    heads: int = 4
    head_dim: int = 32
    kv: tuple[int, ...] = (0, 2, 0, 4)
    ssm_heads: int = 8
    state: int = 32
    groups: int = 1
    context: int = 512
    tied: bool = True
    scales: dict[str, float] = field(default_factory=dict)
    rope: dict[str, object] = field(default_factory=dict)
    rope_freqs: bool = False

    @property
    def inner(self) -> int:
        return 2 * self.d

    @property
    def conv_dim(self) -> int:
        return self.inner + 2 * self.groups * self.state


SCALES = {"attention.scale": 0.11, "embedding_scale": 3.0, "residual_scale": 0.4, "logit_scale": 2.5}
VARIANTS: dict[str, Shape] = {
    "plain": Shape(rope={"rope.freq_base": 10_000.0}),
    "nope": Shape(rope={"rope.scaling.finetuned": False}),
    "linear": Shape(rope={"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}),
    "yarn": Shape(
        rope={
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 128,
            "rope.freq_base": 50_000.0,
        }
    ),
    "longrope": Shape(rope={"rope.scaling.type": "longrope", "rope.scaling.attn_factor": 1.19}, rope_freqs=True),
    "partial_rope": Shape(rope={"rope.dimension_count": 16}),
    "multipliers": Shape(scales=SCALES),
    "untied": Shape(tied=False),
    "two_groups": Shape(groups=2),
    "wide_heads": Shape(head_dim=64),
}


def byte_alphabet() -> list[str]:
    """GPT-2's spelling of the 256 bytes."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    spare = iter(range(0x100, 0x200))
    return [chr(b) if b in printable else chr(next(spare)) for b in range(256)]


@dataclass(frozen=True)
class Vocabulary:
    tokens: list[str]
    types: list[int]
    merges: list[str]

    @classmethod
    def of_bytes(cls) -> Vocabulary:
        """Eight control tokens, the bytes, one merged token, padded to a multiple of 32."""
        control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
        control += [f"<|reserved_{i}|>" for i in (5, 6, 7)]
        tokens = [*control, *byte_alphabet(), "Ġa"]
        types = [gguf.TokenType.CONTROL] * len(control) + [gguf.TokenType.NORMAL] * 257
        unused = -len(tokens) % 32
        tokens += [f"[PAD{i}]" for i in range(unused)]
        return cls(tokens, types + [gguf.TokenType.UNUSED] * unused, ["Ġ a"])

    @classmethod
    def of_file(cls, path: Path) -> Vocabulary:
        """The vocabulary of a tokenizer.json: its special added tokens are control tokens."""
        data = json.loads(path.read_text(encoding="utf-8"))
        ids = dict(data["model"]["vocab"])
        special = {t["content"] for t in data["added_tokens"] if t["special"]}
        ids |= {t["content"]: t["id"] for t in data["added_tokens"]}
        tokens = sorted(ids, key=ids.__getitem__)
        assert [ids[t] for t in tokens] == list(range(len(tokens))), "ids without a gap"
        types = [gguf.TokenType.CONTROL if t in special else gguf.TokenType.NORMAL for t in tokens]
        pairs = data["model"]["merges"]
        return cls(tokens, types, [p if isinstance(p, str) else " ".join(p) for p in pairs])


def add_metadata(writer: gguf.GGUFWriter, shape: Shape, vocabulary: Vocabulary) -> None:
    key = f"{ARCH}.{{}}".format
    numbers = {
        "block_count": len(shape.kv),
        "context_length": shape.context,
        "embedding_length": shape.d,
        "feed_forward_length": shape.ff,
        "attention.head_count": shape.heads,
        "ssm.conv_kernel": 4,
        "ssm.inner_size": shape.inner,
        "ssm.state_size": shape.state,
        "ssm.time_step_rank": shape.ssm_heads,
        "ssm.group_count": shape.groups,
    }
    if shape.head_dim * shape.heads != shape.d:
        numbers |= {"attention.key_length": shape.head_dim, "attention.value_length": shape.head_dim}
    for name, number in numbers.items():
        writer.add_uint32(key(name), number)
    writer.add_array(key("attention.head_count_kv"), list(shape.kv))
    writer.add_float32(key("attention.layer_norm_rms_epsilon"), 1e-5)
    for name, value in shape.scales.items():
        writer.add_float32(key(name), value)
    for name, value in ({"rope.scaling.finetuned": True} | shape.rope).items():
        kinds = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
        kinds[type(value)](key(name), value)
    add_vocabulary(writer, vocabulary, "qwen35")


def add_vocabulary(writer: gguf.GGUFWriter, vocabulary: Vocabulary, pre: str) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_eot_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)


def tensors(shape: Shape, n_vocab: int, rng: np.random.Generator):
    """(name, array, is a matrix); arrays are [out, in]. Sizes keep activations near 1, so that errors show."""

    def matrix(name: str, rows: int, columns: int):
        return name, rng.normal(0, columns**-0.5, (rows, columns)), True

    def plain(name: str, array: np.ndarray):
        return name, array, False

    def norm(name: str, n: int):
        return plain(name, 1 + 0.2 * rng.normal(size=n))

    d, inner = shape.d, shape.inner
    yield "token_embd.weight", rng.normal(0, 1, (n_vocab, d)) * d**-0.5, True
    yield norm("output_norm.weight", d)
    if not shape.tied:
        yield matrix("output.weight", n_vocab, d)
    if shape.rope_freqs:
        yield plain("rope_freqs.weight", np.linspace(1, 8, shape.head_dim // 2))
    for i, kv in enumerate(shape.kv):
        blk = f"blk.{i}.{{}}".format
        yield norm(blk("attn_norm.weight"), d)
        if kv == 0:
            yield matrix(blk("ssm_in.weight"), inner + shape.conv_dim + shape.ssm_heads, d)
            yield plain(blk("ssm_conv1d.weight"), rng.normal(0, 0.5, (shape.conv_dim, 4)))
            yield plain(blk("ssm_conv1d.bias"), rng.normal(0, 0.1, shape.conv_dim))
            yield plain(blk("ssm_dt.bias"), rng.uniform(-4, 1, shape.ssm_heads))
            yield plain(blk("ssm_a"), -rng.uniform(0.5, 8, (shape.ssm_heads, 1)))
            yield plain(blk("ssm_d"), rng.normal(1, 0.2, (shape.ssm_heads, 1)))
            yield plain(blk("ssm_norm.weight"), 1 + 0.2 * rng.normal(size=(shape.groups, inner // shape.groups)))
            yield matrix(blk("ssm_out.weight"), d, inner)
        else:
            yield matrix(blk("attn_q.weight"), shape.heads * shape.head_dim, d)
            yield matrix(blk("attn_k.weight"), kv * shape.head_dim, d)
            yield matrix(blk("attn_v.weight"), kv * shape.head_dim, d)
            yield matrix(blk("attn_output.weight"), d, shape.heads * shape.head_dim)
        yield norm(blk("ffn_norm.weight"), d)
        yield matrix(blk("ffn_gate.weight"), shape.ff, d)
        yield matrix(blk("ffn_up.weight"), shape.ff, d)
        yield matrix(blk("ffn_down.weight"), d, shape.ff)


def write(path: Path, variant: str, dtype: str = "F32", seed: int = 1, tokenizer: Path | None = None) -> Path:
    shape = VARIANTS[variant]
    vocabulary = Vocabulary.of_file(tokenizer) if tokenizer else Vocabulary.of_bytes()
    writer = gguf.GGUFWriter(path, ARCH)
    add_metadata(writer, shape, vocabulary)
    return save(writer, path, tensors(shape, len(vocabulary.tokens), np.random.default_rng(seed)), dtype)


def save(writer: gguf.GGUFWriter, path: Path, arrays: Iterable[tuple[str, np.ndarray, bool]], dtype: str) -> Path:
    kind = gguf.GGMLQuantizationType[dtype]
    for name, array, is_matrix in arrays:
        array = np.ascontiguousarray(array, dtype=np.float32)
        if is_matrix and dtype != "F32":
            writer.add_tensor(name, gguf.quants.quantize(array, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, default="plain")
    parser.add_argument("--dtype", choices=["F32", "F16", "BF16", "Q8_0", "Q4_0"], default="F32")
    parser.add_argument("--tokenizer", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    write(a.out, a.variant, a.dtype, a.seed, a.tokenizer)


if __name__ == "__main__":
    main()
