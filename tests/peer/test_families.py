"""Parity of the foreign families with llama.cpp: logits of random models, and the pre-tokenizers."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import parity
import pytest
import random_family
from llama_peer import Peer
from random_model import Vocabulary

ROOT = Path(__file__).resolve().parents[2]
# As for the contract's own models; measured figures are in README.md.
MAX_REL_F32 = 1e-3
# Every pattern, under one of its names; `tekken` is not llama.cpp's where text has marks (see tokenizer/pre.rs).
PRE = ["gpt-2", "smollm", "llama-bpe", "dbrx", "qwen2", "refact", "falcon-h1", "pixtral", "tekken"]


@pytest.mark.parametrize("variant", random_family.VARIANTS)
def test_f32_logits_of_every_family_agree(tmp_path: Path, variant: str) -> None:
    model = random_family.write(tmp_path / "model.gguf", variant)
    tokens = [(37 * i + 5) % 264 for i in range(150)]
    with Peer(model, n_ctx=256, exact=True) as peer:
        peers_nv = peer.logits(tokens)
    for backend in ("fast", "reference"):
        found = parity.agreement(parity.engine.logits(model, tokens, backend=backend), peers_nv)
        print(f"\n{variant} {backend}: {found}")
        assert found.max_rel <= MAX_REL_F32, (backend, found)
        assert found.top1 > 0.99, (backend, found)


@pytest.mark.parametrize("variant", ["llama_bias", "falcon-h1", "nemotron_h", "granite_experts"])
def test_q8_0_logits_of_every_family_agree(tmp_path: Path, variant: str) -> None:
    """Both sides round activations to 8 bits. Where a random router is nearly undecided, that chooses another expert, and
    llama.cpp itself is then further from f32 (0.92 of the best tokens): we must be as near to it as it is to f32."""
    model = random_family.write(tmp_path / "model.gguf", variant, "Q8_0")
    tokens = [(37 * i + 5) % 264 for i in range(150)]
    with Peer(model, n_ctx=256, exact=True) as peer:
        peers_nv = peer.logits(tokens)
    reference_nv = parity.engine.logits(model, tokens, backend="reference")
    ours_nv = parity.engine.logits(model, tokens, backend="fast")
    pairs = [(ours_nv, peers_nv), (ours_nv, reference_nv), (peers_nv, reference_nv)]
    found, ours, peers = (parity.agreement(*pair) for pair in pairs)
    print(f"\n{variant}: with llama.cpp {found}; from f32: ours {ours}, llama.cpp {peers}")
    assert found.mean_kl <= 5e-3 and found.top1 >= min(0.95, peers.top1), (found, peers)
    assert ours.mean_kl <= 2 * peers.mean_kl + 1e-5, (ours, peers)


def has_marks(text: str) -> bool:
    return any(unicodedata.category(c).startswith("M") for c in text)


@pytest.mark.parametrize("pre", PRE)
def test_the_pre_tokenizers_agree_with_llama_cpp(tmp_path: Path, pre: str) -> None:
    """The contract's vocabulary stands in for a foreign one: what is compared is how text is cut."""
    vocabulary = Vocabulary.of_file(ROOT / "assets/contract/tokenizer.json")
    model = random_family.write(tmp_path / "model.gguf", "llama", "Q8_0", vocabulary=vocabulary, pre=pre)
    golden = json.loads((ROOT / "tests/fixtures/golden/tokenizer_texts.json").read_text(encoding="utf-8"))
    texts = [unicodedata.normalize("NFC", entry["text"]) for entry in golden]
    texts = [text for text in texts if text and not (pre == "tekken" and has_marks(text))]
    with Peer(model, n_ctx=64) as peer:
        theirs = [peer.tokenize(text) for text in texts]
    different = [t for t, ids in zip(texts, theirs, strict=True) if parity.engine.tokenize(model, t) != ids]
    assert len(texts) >= 30
    assert not different, different
