"""Our engine against llama.cpp on the same file and the same token ids.

    python parity.py MODEL.gguf [--backend fast|reference]
    python parity.py MODEL.gguf --tokenizer tokenizer.json        our tokenizer, `tokenizers` and llama.cpp, text by text

Prints one JSON object. Figures, with a = ours and b = the peer's logits at one position:
  max_rel   max |a - b| / max |b|, the worst position
  mean_kl   mean over positions of KL(softmax b || softmax a), in nats
  top1      share of positions where the likeliest token is the same
"""

from __future__ import annotations

import argparse
import json
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import engine
import numpy as np
from llama_peer import Peer
from tokenizers import Tokenizer

GOLDEN = Path(__file__).resolve().parents[1] / "fixtures/golden"
MAX_PROMPT_TOKENS = 256


@dataclass
class Agreement:
    positions: int
    max_rel: float
    mean_kl: float
    top1: float


def prompts() -> list[str]:
    """The golden conversations in the chat format, answer included."""
    turns = json.loads((GOLDEN / "prompts.json").read_text(encoding="utf-8"))
    chat = "<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"
    return [chat.format(**turn) for turn in turns]


def sequences(peer: Peer) -> list[list[int]]:
    return [peer.tokenize(text, parse_special=True)[:MAX_PROMPT_TOKENS] for text in prompts()]


def log_softmax(logits_nv: np.ndarray) -> np.ndarray:
    x_nv = logits_nv.astype(np.float64)
    x_nv -= x_nv.max(axis=1, keepdims=True)
    return x_nv - np.log(np.exp(x_nv).sum(axis=1, keepdims=True))


def agreement(ours_nv: np.ndarray, peers_nv: np.ndarray) -> Agreement:
    if ours_nv.shape != peers_nv.shape:
        raise ValueError(f"shapes {ours_nv.shape} and {peers_nv.shape}")
    if not (np.isfinite(ours_nv).all() and np.isfinite(peers_nv).all()):
        raise ValueError("logits are not finite")
    worst_n = np.abs(ours_nv - peers_nv).max(axis=1) / np.abs(peers_nv).max(axis=1)
    a_nv, b_nv = log_softmax(ours_nv), log_softmax(peers_nv)
    kl_n = (np.exp(b_nv) * (b_nv - a_nv)).sum(axis=1)
    top1 = (ours_nv.argmax(axis=1) == peers_nv.argmax(axis=1)).mean()
    return Agreement(len(ours_nv), float(worst_n.max()), float(kl_n.mean()), float(top1))


def peer_logits(model: Path, *, exact: bool, every: int = 1) -> tuple[list[list[int]], np.ndarray]:
    """Every `every`-th golden token sequence of this model's tokenizer, and llama.cpp's logits for all of them."""
    with Peer(model, n_ctx=MAX_PROMPT_TOKENS + 8, exact=exact) as peer:
        ids = sequences(peer)[::every]
        return ids, np.concatenate([peer.logits(s) for s in ids])


def engine_logits(model: Path, ids: list[list[int]], backend: str, cpu: str | None = None) -> np.ndarray:
    return np.concatenate([engine.logits(model, s, backend=backend, cpu=cpu) for s in ids])


def compare_logits(model: Path, backend: str) -> dict[str, object]:
    """The KV cache of the peer is f32 here, as ours is: what remains is the arithmetic of the products."""
    ids, peers_nv = peer_logits(model, exact=True)
    return {"model": model.name, "backend": backend, **asdict(agreement(engine_logits(model, ids, backend), peers_nv))}


@dataclass
class Disagreement:
    name: str
    ours: list[int]
    python: list[int]
    peer: list[int]


def golden_texts() -> dict[str, str]:
    entries = json.loads((GOLDEN / "tokenizer_texts.json").read_text(encoding="utf-8"))
    texts = {entry["name"]: entry["text"] for entry in entries}
    texts |= {f"prompt {i}": text for i, text in enumerate(prompts())}
    return texts


def compare_tokenizers(model: Path, tokenizer_json: Path) -> tuple[int, list[Disagreement]]:
    """How many texts were compared, and those on which the three tokenizers differ.

    The other two get the text in NFC, which our tokenizer makes itself; control tokens in a text are plain text.
    """
    reference = Tokenizer.from_file(str(tokenizer_json))
    reference.encode_special_tokens = True
    texts = golden_texts()
    different = []
    engine.program()
    with Peer(model, n_ctx=64) as peer, ThreadPoolExecutor(max_workers=4) as pool:
        all_ours = pool.map(lambda text: engine.tokenize(model, text), texts.values())
        for (name, text), ours in zip(texts.items(), all_ours, strict=True):
            nfc = unicodedata.normalize("NFC", text)
            python = reference.encode(nfc, add_special_tokens=False).ids
            entry = Disagreement(name, ours, python, peer.tokenize(nfc))
            if not entry.ours == entry.python == entry.peer:
                different.append(entry)
    return len(texts), different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--backend", choices=["fast", "reference"], default="fast")
    parser.add_argument("--tokenizer", type=Path)
    a = parser.parse_args()
    if a.tokenizer:
        compared, different = compare_tokenizers(a.model, a.tokenizer)
        report = {"texts": compared, "different": [asdict(d) for d in different]}
    else:
        report = compare_logits(a.model, a.backend)
    print(json.dumps(report, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
