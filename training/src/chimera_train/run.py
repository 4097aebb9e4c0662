"""A run directory: everything needed to explain a run, repeat it, or go on with it.

    run/config.yaml      the resolved configuration        run/data.json   what it was trained on, with hashes
    run/code/, uv.lock   the sources that ran              run/env.json    versions and machine
    run/metrics.jsonl    one JSON object a line            run/checkpoints/step-00000123/{state.pt,…,COMPLETE}

A checkpoint is written under a temporary name, synced, renamed, and only then marked COMPLETE.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import torch
import yaml

MARKER = "COMPLETE"


def _sync_dir(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_atomic(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    os.replace(temporary, path)
    _sync_dir(path.parent)


class Run:
    """`writer=False` on all ranks but the first: the same calls, no files."""

    def __init__(self, path: Path, writer: bool = True) -> None:
        self.path, self.writer = path, writer
        self.started = time.monotonic()
        if writer:
            (path / "checkpoints").mkdir(parents=True, exist_ok=True)

    def describe(self, config: dict[str, Any], data: dict[str, Any]) -> None:
        if not self.writer:
            return
        write_atomic(self.path / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True).encode())
        write_atomic(self.path / "data.json", json.dumps(data, indent=1, ensure_ascii=False).encode())
        write_atomic(self.path / "env.json", json.dumps(environment(), indent=1).encode())
        code, package = self.path / "code", Path(__file__).parent
        if not code.exists():
            shutil.copytree(package, code, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        lock = package.parents[1] / "uv.lock"
        if lock.exists():
            write_atomic(self.path / "uv.lock", lock.read_bytes())

    def log(self, **facts: Any) -> None:
        if not self.writer:
            return
        facts = {"seconds": round(time.monotonic() - self.started, 2)} | facts
        with open(self.path / "metrics.jsonl", "a", encoding="utf-8") as f:
            f.write(json.dumps(facts, ensure_ascii=False) + "\n")
        print(" ".join(f"{k}={_short(v)}" for k, v in facts.items()), flush=True)

    def save(self, step: int, state: dict[str, Any], keep: int = 2) -> Path:
        folder = self.path / "checkpoints" / f"step-{step:08d}"
        if not self.writer or (folder / MARKER).exists():
            return folder
        temporary = folder.with_name(folder.name + ".tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)  # a torn one without its marker
        temporary.mkdir()
        with open(temporary / "state.pt", "wb") as f:
            torch.save(state, f)
            f.flush()
            os.fsync(f.fileno())
        os.replace(temporary, folder)
        write_atomic(folder / MARKER, b"")
        for old in complete_checkpoints(self.path)[:-keep]:
            shutil.rmtree(old)
        return folder


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return "{" + " ".join(f"{k}:{_short(v)}" for k, v in value.items()) + "}"
    return str(value)


def complete_checkpoints(run: Path) -> list[Path]:
    """Oldest first; torn ones do not count."""
    return sorted(p.parent for p in (run / "checkpoints").glob(f"step-*/{MARKER}") if not p.parent.name.endswith(".tmp"))


def load_latest(path: Path) -> dict[str, Any] | None:
    """The newest complete checkpoint of a run directory, or a checkpoint folder, or a state file."""
    if path.is_file():
        file = path
    elif (path / MARKER).exists():
        file = path / "state.pt"
    else:
        found = complete_checkpoints(path)
        if not found:
            return None
        file = found[-1] / "state.pt"
    return torch.load(file, map_location="cpu", weights_only=True)


def environment() -> dict[str, Any]:
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return {"python": platform.python_version(), "torch": torch.__version__, "gpus": gpus, "argv": sys.argv[1:]}
