"""Token shards: `<source>.bin` holds uint16 ids, `0 doc 0 doc … 0`; `<source>.json` says what is in it.

Id 0 (`<|endoftext|>`) stands before every document and after the last: it is the separator, the start a model
sees, and the end it learns to predict.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SEPARATOR = 0


@dataclass(frozen=True)
class Shard:
    name: str
    tokens: np.ndarray  # uint16, memory-mapped
    starts: np.ndarray  # int64, position of each document's leading separator
    stops: np.ndarray  # int64, position after its last token
    meta: dict

    @property
    def n_tokens(self) -> int:
        return int(self.tokens.shape[0])


class ShardWriter:
    """Appends documents, then publishes both files by rename: a reader sees all of a shard or none of it."""

    def __init__(self, path: Path) -> None:
        self.path, self.count, self.documents = path, 0, 0
        self.digest = hashlib.sha256()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path.with_suffix(".bin.tmp"), "wb")  # noqa: SIM115 — closed by close()

    def add(self, ids: list[int] | np.ndarray) -> None:
        self._write(np.concatenate([[SEPARATOR], np.asarray(ids, dtype=np.int64)]))
        self.documents += 1

    def _write(self, ids: np.ndarray) -> None:
        if ids.size and (ids.min() < 0 or ids.max() > 0xFFFF):
            raise ValueError(f"{self.path.name}: token id outside uint16")
        raw = ids.astype("<u2").tobytes()
        self.digest.update(raw)
        self.file.write(raw)
        self.count += ids.size

    def close(self, meta: dict) -> dict:
        self._write(np.array([SEPARATOR]))
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()
        meta = meta | {"tokens": self.count, "documents": self.documents, "sha256": self.digest.hexdigest()}
        os.replace(self.path.with_suffix(".bin.tmp"), self.path)
        side = self.path.with_suffix(".json")
        side.with_suffix(".json.tmp").write_text(json.dumps(meta, ensure_ascii=False, indent=1), "utf-8")
        os.replace(side.with_suffix(".json.tmp"), side)
        return meta


def open_shard(folder: Path, name: str) -> Shard:
    path = folder / f"{name}.bin"
    tokens = np.memmap(path, dtype="<u2", mode="r")
    side = path.with_suffix(".json")
    meta = json.loads(side.read_text("utf-8")) if side.exists() else {}
    if meta and meta["tokens"] != tokens.shape[0]:
        raise ValueError(f"{path.name}: {tokens.shape[0]} tokens, its description says {meta['tokens']}")
    breaks = np.flatnonzero(tokens == SEPARATOR).astype(np.int64)
    starts, stops = breaks[:-1], breaks[1:]
    real = stops - starts > 1
    return Shard(name, tokens, starts[real], stops[real], meta)


def wait_for(folder: Path, names: list[str], minutes: float) -> None:
    """Shards may still be on their way to a rented machine: wait until every description is there."""
    deadline = time.monotonic() + 60 * minutes
    while missing := [n for n in names if not (folder / f"{n}.json").exists()]:
        if time.monotonic() > deadline:
            raise FileNotFoundError(f"no shard for: {', '.join(missing)} in {folder}")
        time.sleep(1.0)


def data_hash(shards: list[Shard]) -> str:
    """One hash over the shards' own: names the data of a run."""
    text = "\n".join(f"{s.name} {s.meta.get('sha256', s.n_tokens)}" for s in sorted(shards, key=lambda s: s.name))
    return hashlib.sha256(text.encode()).hexdigest()


def thin(raw: dict) -> None:
    """`thin: {from: …, out: …, every: 4}`: every n-th document of each shard (held-out shards whole), for sweeps that
    repeat their text as often as the long run repeats its own."""
    source, out, every = Path(raw["thin"]["from"]), Path(raw["thin"]["out"]), int(raw["thin"]["every"])
    for path in sorted(source.glob("*.bin")):
        shard, keep = open_shard(source, path.stem), 1 if path.stem.endswith(".val") else every
        writer = ShardWriter(out / path.name)
        for start, stop in zip(shard.starts[::keep], shard.stops[::keep], strict=True):
            writer.add(shard.tokens[start + 1 : stop])
        meta = writer.close({k: v for k, v in shard.meta.items() if k not in ("tokens", "documents", "sha256")} | {"every": keep})
        print(f"{meta['tokens']:12,d}  {path.stem}")
