"""Our engine, reached as its users reach it: through the `chimera` program."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]


@cache
def program() -> str:
    """$CHIMERA_BIN, or the debug build of the workspace, brought up to date first."""
    if given := os.environ.get("CHIMERA_BIN"):
        return given
    subprocess.run(["cargo", "build", "--quiet", "-p", "chimera-cli"], cwd=ROOT, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--no-deps", "--format-version", "1"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    name = "chimera.exe" if os.name == "nt" else "chimera"
    return str(Path(json.loads(metadata.stdout)["target_directory"]) / "debug" / name)


def run(*arguments: str, text: str | None = None) -> str:
    data = None if text is None else text.encode()
    done = subprocess.run([program(), *arguments], check=False, input=data, capture_output=True)
    if done.returncode != 0:
        raise RuntimeError(f"chimera {' '.join(arguments)}: {done.stderr.decode(errors='replace')}")
    return done.stdout.decode()


def tokenize(model: Path, text: str) -> list[int]:
    return json.loads(run("tokenize", "--json", "--model", str(model), text=text))


def logits(model: Path, tokens: list[int], *, backend: str, cpu: str | None = None) -> np.ndarray:
    """[len(tokens), vocabulary] from an empty state."""
    with tempfile.TemporaryDirectory() as folder:
        ids, out = Path(folder, "ids.json"), Path(folder, "logits.f32")
        ids.write_text(json.dumps(tokens))
        options = ["--backend", backend, *(["--cpu", cpu] if cpu else [])]
        files = ["--tokens-file", str(ids), "--out", str(out)]
        run("eval", "logits", "--model", str(model), *options, *files)
        return np.fromfile(out, dtype="<f4").reshape(len(tokens), -1)
