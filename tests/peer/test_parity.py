"""Parity with llama.cpp: the files load there, the logits agree, the tokens agree.

The models are random ones written by gguf-py (every variant of the contract), the tiny fixture as our own `convert` and
`quantize` made it, and every GGUF in assets/models.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import parity
import pytest
import random_model
from llama_peer import Peer

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests/fixtures/tiny"
SHIPPED = sorted((ROOT / "assets/models").glob("*.gguf"))
# Demanded by the contract for F32; measured 1e-5 or less.
MAX_REL_F32 = 1e-3
# Both sides round activations to 8 bits for Q4_0, each in its own order; measured figures are in README.md.
MAX_MEAN_KL_Q4_0 = 5e-3
MIN_TOP1_Q4_0 = 0.95


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("peer")


@pytest.mark.parametrize("variant", random_model.VARIANTS)
def test_f32_logits_of_every_variant_agree(folder: Path, variant: str) -> None:
    model = random_model.write(folder / f"{variant}.gguf", variant)
    tokens = [(37 * i + 5) % 264 for i in range(200)]
    with Peer(model, n_ctx=256, exact=True) as peer:
        peers_nv = peer.logits(tokens)
    for backend in ("fast", "reference"):
        found = parity.agreement(parity.engine.logits(model, tokens, backend=backend), peers_nv)
        assert found.max_rel <= MAX_REL_F32, (backend, found)
        assert found.top1 > 0.99, (backend, found)


def test_the_variants_differ_from_each_other(folder: Path) -> None:
    """A switch that neither side read would make the test above pass for the wrong reason."""
    tokens = [(37 * i + 5) % 264 for i in range(200)]
    logits = {}
    for variant in ("plain", "nope", "linear", "yarn", "longrope", "partial_rope", "multipliers"):
        model = random_model.write(folder / f"differs-{variant}.gguf", variant)
        with Peer(model, n_ctx=256, exact=True) as peer:
            logits[variant] = peer.logits(tokens)
    plain_nv = logits.pop("plain")
    for variant, other_nv in logits.items():
        assert parity.agreement(other_nv, plain_nv).max_rel > 10 * MAX_REL_F32, variant


def convert(folder: Path, variant: str = "default") -> Path:
    """The tiny checkpoint, with one of its configurations, through our `convert`."""
    checkpoint = folder / f"tiny-{variant}"
    out = checkpoint.with_suffix(".gguf")
    if not checkpoint.exists():
        shutil.copytree(TINY, checkpoint)
        if variant != "default":
            shutil.copy(TINY / f"config-{variant}.json", checkpoint / "config.json")
        parity.engine.run("convert", str(checkpoint), "--out", str(out), "--type", "f32", "--name", "tiny")
    return out


def test_f32_logits_of_our_own_conversion_agree(folder: Path) -> None:
    for backend in ("fast", "reference"):
        found = parity.compare_logits(convert(folder), backend)
        assert found["positions"] >= 500
        assert found["max_rel"] <= MAX_REL_F32, found


@pytest.mark.parametrize("variant", ["default", "yarn", "longrope"])
def test_transformers_llama_cpp_and_we_agree(folder: Path, variant: str) -> None:
    """golden.json holds what Transformers computed from the checkpoint that is converted here."""
    golden = json.loads((TINY / "golden.json").read_text(encoding="utf-8"))
    model, ids = convert(folder, variant), golden["ids"]
    rows = golden["variants"][variant]["logits"]
    theirs_nv = np.array([rows[str(i)] for i in golden["positions"]], dtype=np.float32)
    with Peer(model, n_ctx=128, exact=True) as peer:
        peers_nv = peer.logits(ids)
    for name, all_nv in {"llama.cpp": peers_nv, "ours": parity.engine.logits(model, ids, backend="fast")}.items():
        found = parity.agreement(all_nv[golden["positions"]], theirs_nv)
        assert found.max_rel <= MAX_REL_F32, (name, found)
        assert list(all_nv.argmax(axis=1)) == golden["variants"][variant]["argmax"], name


def test_the_committed_tiny_model_is_what_convert_and_quantize_make(folder: Path) -> None:
    made = folder / "made-q4_0.gguf"
    parity.engine.run("quantize", str(convert(folder)), str(made), "--embedding", "q8_0")
    assert made.read_bytes() == (TINY / "tiny-q4_0.gguf").read_bytes()


@pytest.mark.parametrize("model", [TINY / "tiny-q4_0.gguf", *SHIPPED], ids=lambda p: p.name)
def test_quantized_logits_agree_within_the_noise_of_quantized_activations(model: Path) -> None:
    """The reference computes in f32 what both quantized sides approximate: we may be no further from it than llama.cpp."""
    # Half of the prompts, in every language, are more than 500 positions; the f32 reference is slow on a large model.
    ids, peers_nv = parity.peer_logits(model, exact=True, every=2)
    fast_nv = parity.engine_logits(model, ids, "fast")
    reference_nv = parity.engine_logits(model, ids, "reference")
    found = parity.agreement(fast_nv, peers_nv)
    ours, peers = parity.agreement(fast_nv, reference_nv), parity.agreement(peers_nv, reference_nv)
    print(f"\n{model.name}: with llama.cpp {found}; from f32: ours {ours}, llama.cpp {peers}")
    assert found.positions >= 500
    assert found.mean_kl <= MAX_MEAN_KL_Q4_0 and found.top1 >= MIN_TOP1_Q4_0, found
    assert ours.mean_kl <= 1.5 * peers.mean_kl + 1e-5, (ours, peers)


def test_the_contract_tokenizer_agrees_with_python_and_llama_cpp(folder: Path) -> None:
    tokenizer = ROOT / "assets/contract/tokenizer.json"
    model = random_model.write(folder / "contract.gguf", "plain", "Q8_0", tokenizer=tokenizer)
    check_tokens(model, tokenizer)


def test_the_tokenizer_of_our_own_conversion_agrees(folder: Path) -> None:
    check_tokens(convert(folder), TINY / "tokenizer.json")


def test_the_shipped_tokenizer_is_the_contract_s() -> None:
    assert SHIPPED, "no bundled model in assets/models"
    for model in SHIPPED:
        check_tokens(model, ROOT / "assets/contract/tokenizer.json")


def check_tokens(model: Path, tokenizer: Path) -> None:
    compared, different = parity.compare_tokenizers(model, tokenizer)
    assert compared >= 70
    assert not different, different


def test_agreement_sees_a_small_difference() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(size=(4, 9)).astype(np.float32)
    assert parity.agreement(a, a) == parity.Agreement(4, 0.0, 0.0, 1.0)
    b = a.copy()
    b[2, 3] += 0.5
    found = parity.agreement(b, a)
    assert found.max_rel > 0.1 and found.mean_kl > 0
