"""A random `granitehybrid` model of a shipping shape, written straight as quantized blocks: for timings, where only sizes count.

python bench_model.py OUT.gguf [--shape 700m|700m-h32] [--embedding Q6_K|Q4_0] [--tokenizer tokenizer.json] [--seed 1]

Blocks are uniform nibbles under a scale that keeps activations near 1. The vocabulary is the contract's, filled up with
unused entries.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
from random_model import ARCH, Shape, Vocabulary, add_metadata, tensors

CHIMERA_700M = Shape(
    d=1280,
    ff=2816,
    heads=20,
    head_dim=64,
    kv=tuple(4 if i in (6, 14, 22, 30) else 0 for i in range(32)),
    ssm_heads=40,
    state=128,
    context=8192,
)
# H 32 x P 80: the 5408 rows of in_proj are a multiple of 32, as AMX tiles of llama.cpp want them (40 heads give 5416).
SHAPES = {"700m": CHIMERA_700M, "700m-h32": replace(CHIMERA_700M, ssm_heads=32)}
N_VOCAB = 49_152
CONTRACT = Path(__file__).parents[2] / "assets/contract/tokenizer.json"
Type = gguf.GGMLQuantizationType


class Unfilled(np.random.Generator):
    """Gives matrices no numbers: only their shapes are used, and 2.8 GB of normal deviates take minutes."""

    def normal(self, loc=0.0, scale=1.0, size=None):
        if isinstance(size, tuple) and size[1] % 32 == 0 and size[0] > 1:
            return np.broadcast_to(np.float32(scale), size)
        return super().normal(loc, scale, size)


def q4_0(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """[rows, bytes]: f16 scale, 16 bytes of two nibbles. A uniform nibble minus 8 has a deviation of 4.6."""
    blocks = rng.integers(0, 256, (rows, columns // 32, 18), dtype=np.uint8)
    scales = rng.uniform(0.8, 1.2, blocks.shape[:2]) * columns**-0.5 / 4.6
    blocks[:, :, :2] = scales.astype("<f2")[..., None].view(np.uint8)
    return blocks.reshape(rows, -1)


def q6_k(rows: int, columns: int, rng: np.random.Generator) -> np.ndarray:
    """[rows, bytes]: 192 bytes of six-bit numbers (deviation 18.5), 16 int8 scales, one f16 scale."""
    blocks = rng.integers(0, 256, (rows, columns // 256, 210), dtype=np.uint8)
    blocks[:, :, 192:208] = rng.integers(12, 20, (*blocks.shape[:2], 16), dtype=np.uint8)
    blocks[:, :, 208:] = np.frombuffer(np.float16(columns**-0.5 / 18.5 / 16).tobytes(), np.uint8)
    return blocks.reshape(rows, -1)


def contract_vocabulary(tokenizer: Path) -> Vocabulary:
    found = Vocabulary.of_file(tokenizer)
    unused = N_VOCAB - len(found.tokens)
    tokens = found.tokens + [f"[PAD{i}]" for i in range(len(found.tokens), N_VOCAB)]
    return Vocabulary(tokens, found.types + [gguf.TokenType.UNUSED] * unused, found.merges)


def write(path: Path, shape: Shape, embedding: Type, tokenizer: Path = CONTRACT, seed: int = 1) -> None:
    rng = np.random.default_rng(seed)
    vocabulary = contract_vocabulary(tokenizer)
    writer = gguf.GGUFWriter(path, ARCH, use_temp_file=True)
    add_metadata(writer, shape, vocabulary)
    writer.add_name(f"random {path.stem}")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for name, array, is_matrix in tensors(shape, N_VOCAB, Unfilled(np.random.PCG64(seed))):
        if not is_matrix:
            writer.add_tensor(name, np.ascontiguousarray(array, dtype=np.float32))
        elif name == "token_embd.weight" and embedding == Type.Q6_K:
            writer.add_tensor(name, q6_k(*array.shape, rng), raw_dtype=Type.Q6_K)
        else:
            writer.add_tensor(name, q4_0(*array.shape, rng), raw_dtype=Type.Q4_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="700m")
    parser.add_argument("--embedding", choices=["Q6_K", "Q4_0"], default="Q6_K")
    parser.add_argument("--tokenizer", type=Path, default=CONTRACT)
    parser.add_argument("--seed", type=int, default=1)
    a = parser.parse_args()
    write(a.out, SHAPES[a.shape], Type[a.embedding], a.tokenizer, a.seed)


if __name__ == "__main__":
    main()
