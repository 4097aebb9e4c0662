"""`python -m chimera_train.tiny --out tests/fixtures/tiny`: the fixture shared with the Rust tests.

A random model of the true structure (bf16 weights, large enough that every part shows in the logits), a 1,024-entry
tokenizer trained on the tests' own text, and `golden.json`: what Transformers computes from them in fp32.
RoPE has no weights, so the yarn and longrope variants are the same `model.safetensors` under another config:
copy `config-<variant>.json` over `config.json`.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from chimera_train import config
from chimera_train.chatml import ChatTokenizer
from chimera_train.config import ModelConfig, RopeConfig
from chimera_train.export import CONTRACT, hf_config, write_model
from chimera_train.model import Chimera, init_weights
from chimera_train.run import write_atomic
from chimera_train.tokenizer import Contract, document_text, train_on_texts

TEXT = Path(__file__).resolve().parents[2] / "tests" / "fixtures"
LONG_FACTORS = tuple(round(1.0 + 3.0 * (i / 15) ** 2, 6) for i in range(16))
PROMPT = ("नदी के किनारे एक छोटा सा गाँव था, और wood floats because it is lighter. ज़िंदगी २४ घंटे: क्या? The क़लम costs ₹10! "
          "Every morning she writes down the weather and the first bird that she hears; फिर वह चाय बनाती है और खिड़की के पास बैठती है।")


def variants() -> dict[str, ModelConfig]:
    """longrope also carries Granite's multipliers, so that the engine meets each of them once."""
    yarn = RopeConfig("yarn", factor=4.0, original_context=128)
    long = RopeConfig("longrope", factor=4.0, original_context=128, long_factor=LONG_FACTORS)
    return {"default": config.tiny(), "yarn": config.tiny(rope=yarn),
            "longrope": config.tiny(rope=long, embedding_multiplier=3.0, residual_multiplier=0.5, logits_scaling=2.0)}


@torch.no_grad()
def loud_weights(c: ModelConfig, seed: int = 20261125) -> dict[str, Tensor]:
    """Matrices N(0, 1/fan_in) and norms around 1, instead of an initialization made for training."""
    model = Chimera(c)
    init_weights(model, seed)
    g = torch.Generator().manual_seed(seed + 1)
    for name, p in model.named_parameters():
        if "embed_tokens" in name:
            p.copy_(torch.randn(p.shape, generator=g) * 0.2)
        elif p.ndim == 2:
            p.copy_(torch.randn(p.shape, generator=g) / math.sqrt(p.shape[1]))
        elif "norm" in name or name.endswith(".D"):
            p.copy_(1 + 0.1 * torch.randn(p.shape, generator=g))
    return {n: t.to(torch.bfloat16) for n, t in model.state_dict().items()}


def fixture_texts() -> list[str]:
    files = [TEXT / f"{name}.jsonl" for name in ("hi", "en", "chat")]
    return [document_text(json.loads(line)) for f in files for line in f.read_text("utf-8").splitlines()]


def train_tokenizer(out: Path, vocab_size: int = 1024) -> ChatTokenizer:
    train_on_texts(fixture_texts(), Contract.load(CONTRACT / "special_tokens.json"), vocab_size, 1).save(str(out))
    return ChatTokenizer(out)


def golden(folder: Path, hf: dict[str, Any], ids: list[int], positions: list[int]) -> dict[str, Any]:
    """Logits by Transformers, fp32, of the weights in `folder` under the given config."""
    from safetensors.torch import load_file
    from transformers import GraniteMoeHybridConfig, GraniteMoeHybridForCausalLM

    model = GraniteMoeHybridForCausalLM(GraniteMoeHybridConfig(**hf | {"dtype": "float32"})).float().eval()
    state = {n: t.float() for n, t in load_file(folder / "model.safetensors").items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected or [m for m in missing if m != "lm_head.weight"]:
        raise ValueError(f"names differ from Transformers': missing {missing}, unexpected {unexpected}")
    with torch.no_grad():
        logits_tv = model(torch.tensor([ids])).logits[0]
    return {"config": hf, "argmax": logits_tv.argmax(-1).tolist(),
            "logits": {str(i): [float(f"{x:.7g}") for x in logits_tv[i].tolist()] for i in positions}}


def make(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    all_variants = variants()
    tokenizer = train_tokenizer(out / "tokenizer.json")
    write_model(out, all_variants["default"], loud_weights(all_variants["default"]), out / "tokenizer.json", torch.bfloat16)
    ids = tokenizer.text(PROMPT)
    positions = [0, 1, len(ids) // 2, len(ids) - 1]
    result: dict[str, Any] = {"text": PROMPT, "ids": ids, "positions": positions, "source": "Transformers, fp32", "variants": {}}
    for name, c in all_variants.items():
        hf = hf_config(c, "bfloat16")
        if name != "default":
            write_atomic(out / f"config-{name}.json", (json.dumps(hf, indent=2) + "\n").encode())
        result["variants"][name] = golden(out, hf, ids, positions)
    for variant in result["variants"].values():
        variant.pop("config")
    write_atomic(out / "golden.json", json.dumps(result, ensure_ascii=False).encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    make(parser.parse_args().out)
