"""The whole line on a few kilobytes: prepare, pretrain (stopped and gone on with), chat tuning on the quantization
grid, export, sample, bits per byte; every command as a person would type it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from chimera_train.eval_bpb import bits_per_byte, window_nats
from chimera_train.generate import load_model
from chimera_train.run import MARKER, Run, complete_checkpoints, load_latest
from chimera_train.sft import sft
from chimera_train.train import HIDDEN, Trainer, pretrain
from conftest import FIXTURES, TINY

MODEL = {"preset": "tiny", "d_model": 64, "n_layer": 3, "attention_layers": [1], "n_head": 2, "n_kv_head": 1, "ssm_heads": 4,
         "ssm_head_dim": 32, "d_state": 16, "d_ff": 128}


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    """Shards of the fixture text, made by the command line."""
    out = tmp_path_factory.mktemp("tokens")
    recipe = {"tokenizer": str(TINY / "tokenizer.json"), "out": str(out), "held_out": 0.2,
              "sources": [{"name": "hi", "file": "hi.jsonl", "language": "hi"}, {"name": "en", "file": "en.jsonl", "language": "en"},
                          {"name": "chat", "file": "chat.jsonl", "kind": "chat"}]}
    path = out / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe), "utf-8")
    subprocess.run([sys.executable, "-m", "chimera_train", "prepare", "--config", str(path), "--corpus", str(FIXTURES)],
                   check=True, env={"PYTHONPATH": str(Path(__file__).parents[1] / "src"), "PATH": ""})
    return out


def recipe(shards: Path, run: Path, **train) -> dict:
    options = {"run": str(run), "data": str(shards), "batch_tokens": 512, "micro_rows": 4, "length": 64, "long_length": 128,
               "tokens": 6000, "eval_every": 1000, "eval_rows": 2, "log_every": 5, "checkpoint_minutes": 60}
    return {"model": MODEL, "tokenizer": str(TINY / "tokenizer.json"), "train": options | train,
            "mixture": {"hi": 2, "en": 1, "chat": {"weight": 1, "from": 0.5}}}


def metrics(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_raw_text_becomes_a_transformers_model_that_answers(tokens: Path, tmp_path: Path, capsys) -> None:
    base, tuned, out = tmp_path / "base", tmp_path / "tuned", tmp_path / "hf"
    pretrain(recipe(tokens, base, long_from=0.8, documents="ssm", z_loss=1e-4, average_from=0.9))
    losses = [m["loss"] for m in metrics(base) if "grad_norm" in m]
    assert losses[-1] < losses[0] - 1.0
    assert {m["length"] for m in metrics(base) if "grad_norm" in m} == {64, 128}
    held = next(m for m in metrics(base) if m.get("event") == "held_out")
    assert held["loss"] and all(math.isfinite(v) for v in held["loss"].values())

    chat = recipe(tokens, tuned, init_from=str(base), tokens=0, qat_from=0.0, qat_embedding="q8_0", length=128, micro_rows=2)
    chat |= {"mixture": {"chat": {"epochs": 3}}, "optim": {"lr_muon": 5e-3}}
    del chat["model"]  # taken from the checkpoint
    sft(chat)
    assert all(m["qat"] for m in metrics(tuned) if "grad_norm" in m)

    finish = {"tokenizer": chat["tokenizer"], "export": {"run": str(tuned), "out": str(out)},
              "sample": {"run": str(tuned), "prompts": ["नमस्ते"]}, "sampling": {"max_tokens": 5}}
    from chimera_train.__main__ import command

    command("export", finish)
    command("sample", finish)
    assert "> नमस्ते" in capsys.readouterr().out

    from transformers import AutoModelForCausalLM

    theirs, ours = AutoModelForCausalLM.from_pretrained(out).eval(), load_model(str(tuned))
    ids = torch.randint(8, 1024, (1, 30))
    with torch.no_grad():
        want, got = theirs(ids).logits, ours(ids)
    assert (want - got).abs().max() <= 1e-4 * want.abs().max()


def test_a_stopped_run_goes_on_bit_for_bit(tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    pretrain(recipe(tokens, whole, long_from=0.7, average_from=0.3))

    class Stopped(Exception):
        pass

    def stop_after_five(self, mixture) -> None:
        original(self, mixture)
        if self.step == 5:
            raise Stopped

    original = Trainer.save
    monkeypatch.setattr(Trainer, "save", stop_after_five)
    with pytest.raises(Stopped):
        pretrain(recipe(tokens, parts, long_from=0.7, average_from=0.3, checkpoint_minutes=0))
    monkeypatch.undo()
    pretrain(recipe(tokens, parts, long_from=0.7, average_from=0.3))

    a, b = load_latest(whole), load_latest(parts)
    assert a["step"] == b["step"] and a["mixture"] == b["mixture"] and a["averaged"] == b["averaged"]
    for key in ("model", "average"):
        assert all(torch.equal(a[key][n], b[key][n]) for n in a[key])


def test_a_run_by_the_clock_ends_on_time_with_its_decay_done(tokens: Path, tmp_path: Path) -> None:
    pretrain(recipe(tokens, tmp_path, tokens=1e12, minutes=0.25, reserve_seconds=2, log_every=1))
    done = metrics(tmp_path)[-1]
    assert done["event"] == "done" and 0.1 < done["minutes"] < 0.6
    assert load_latest(tmp_path)["progress"] == 1.0


def test_input_noise_hides_text_only_while_learning_and_only_until_its_end(tokens: Path, tmp_path: Path) -> None:
    trainer = Trainer(recipe(tokens, tmp_path / "noise", token_noise=0.5, token_noise_until=0.6))
    ids = torch.arange(1000).view(1, 1000)
    seen = trainer._hide(ids)
    hidden = seen != ids
    assert not hidden[0, : HIDDEN + 1].any() and 400 < hidden.sum() < 600
    assert (seen[hidden] == HIDDEN).all()
    trainer.progress = 0.6
    assert torch.equal(trainer._hide(ids), ids)


def test_input_noise_depends_on_the_seed_and_the_step_alone(tokens: Path, tmp_path: Path) -> None:
    for run in ("a", "b"):
        pretrain(recipe(tokens, tmp_path / run, token_noise=0.3, tokens=3000))
    a, b = (load_latest(tmp_path / run)["model"] for run in ("a", "b"))
    assert all(torch.equal(a[n], b[n]) for n in a)


def test_a_number_written_as_text_is_refused_by_name(tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="TrainConfig.tokens.*1.5e9"):
        Trainer(recipe(tokens, tmp_path / "text", tokens="1.5e9"))


def test_a_run_without_an_end_is_refused(tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="how long"):
        pretrain(recipe(tokens, tmp_path, tokens=0))


def test_a_torn_checkpoint_does_not_count(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.save(1, {"step": 1})
    torn = tmp_path / "checkpoints" / "step-00000002"
    torn.mkdir()
    (torn / "state.pt").write_bytes(b"half")
    assert load_latest(tmp_path)["step"] == 1
    run.save(2, {"step": 2})  # replaces the torn one
    run.save(3, {"step": 3})
    assert [p.name for p in complete_checkpoints(tmp_path)] == ["step-00000002", "step-00000003"]
    assert (torn / MARKER).exists() and load_latest(tmp_path)["step"] == 3


def test_run_directory_explains_the_run(tokens: Path, tmp_path: Path) -> None:
    pretrain(recipe(tokens, tmp_path, tokens=600))
    resolved = yaml.safe_load((tmp_path / "config.yaml").read_text("utf-8"))
    data = json.loads((tmp_path / "data.json").read_text("utf-8"))
    assert resolved["model"]["d_model"] == 64 and resolved["train"]["seed"] == 1 and resolved["optim"]["kind"] == "muon"
    assert len(data["hash"]) == 64 and data["shards"]["hi"]["sha256"]
    assert (tmp_path / "code" / "train.py").exists() and (tmp_path / "env.json").exists()
    assert (tmp_path / "uv.lock").exists()


def test_two_ranks_train_as_one(tokens: Path, tmp_path: Path) -> None:
    """torchrun with two CPU processes takes the same steps as one process with the same global batch."""
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(recipe(tokens, tmp_path / "two", tokens=2000, micro_rows=2)), "utf-8")
    env = {"PYTHONPATH": str(Path(__file__).parents[1] / "src"), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m",
                    "chimera_train", "pretrain", "--config", str(path)], check=True, env=env)
    pretrain(recipe(tokens, tmp_path / "one", tokens=2000, micro_rows=4))
    a, b = load_latest(tmp_path / "one"), load_latest(tmp_path / "two")
    assert a["step"] == b["step"] and a["mixture"] == b["mixture"]
    assert max(float((a["model"][n] - b["model"][n]).abs().max()) for n in a["model"]) < 2e-3
    first = [next(m["loss"] for m in metrics(tmp_path / r) if m.get("step") == 1 and "grad_norm" in m) for r in ("one", "two")]
    assert first[0] == pytest.approx(first[1], rel=1e-5)


def test_bits_per_byte_scores_the_second_half_of_each_window(tokenizer) -> None:
    class Uniform(torch.nn.Module):
        cos_te = torch.zeros(1)

        def forward(self, ids_bt: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*ids_bt.shape, 1024)

    ids = list(range(100, 180))
    nats, count = window_nats(Uniform(), ids, 32)
    assert count == 2 * 15 and nats / count == pytest.approx(math.log(1024), rel=1e-5)
    text = "नदी के किनारे एक गाँव था। " * 20
    result = bits_per_byte(Uniform(), tokenizer, text, 32)
    assert result["bits_per_byte"] == pytest.approx(10 * result["tokens"] / result["bytes"], rel=1e-5)
