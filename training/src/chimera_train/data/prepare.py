"""`prepare`: raw JSON lines → cleaned, deduplicated, decontaminated token shards, and a report of what was left out.

Recipe:
    tokenizer: path/to/tokenizer.json        out: runs/tokens        decontaminate: [eval]
    sources:
      - {name: hi-modern, file: pretrain/hi-modern.jsonl.zst, kind: text, language: hi, licence: "see card"}
Files are looked for under the corpus (`--corpus` or CHIMERA_CORPUS), unless they begin with `./`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from chimera_train.chatml import ChatTokenizer
from chimera_train.config import build
from chimera_train.data.clean import Filters, clean, reject
from chimera_train.data.dedupe import Contamination, Duplicates, WordHashes
from chimera_train.data.shards import ShardWriter
from chimera_train.data_statement import file_licences
from chimera_train.run import write_atomic

KINDS = ("text", "code", "chat", "parallel")
BATCH = 512  # documents encoded at a time


@dataclass(frozen=True)
class SourceConfig:
    name: str
    file: str
    kind: str = "text"
    language: str = ""  # hi | en: the script is checked; anything else: it is not
    licence: str = ""  # of the whole file; else the corpus' SOURCES-*.tsv says it source by source
    sha256: str = ""  # of the file; checked when given
    near_duplicates: bool = True
    only: tuple[str, ...] = ()  # keep only these values of a record's `source`
    without: tuple[str, ...] = ()
    max_documents: int = 0
    filters: dict = field(default_factory=dict)


@dataclass(frozen=True)
class PrepareConfig:
    tokenizer: str
    out: str
    sources: list
    corpus: str = ""
    decontaminate: tuple[str, ...] = ()
    held_out: float = 0.005  # share of the documents set aside, chosen by hash
    held_out_documents: int = 300  # at most
    seed: int = 1


def read_lines(path: Path) -> Iterator[dict]:
    with open(path, "rb") as raw:
        stream = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(raw) if path.suffix == ".zst" else raw
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            if line.strip():
                yield json.loads(line)


def file_sha256(path: Path) -> str:
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _flat_text(record: dict, kind: str, rng: random.Random) -> str:
    """What is compared, filtered and (for text) encoded."""
    if kind == "chat":
        return "\n".join(m.get("thinking", "") + m["content"] for m in record["messages"])
    if kind == "parallel":  # a pair is one document, either language first
        sides = [record.get("hi") or record.get("hinglish") or "", record.get("en") or ""]
        rng.shuffle(sides)
        return "\n".join(sides)
    return record["text"]


class Preparer:
    """State shared by all sources: what was seen, what must not be."""

    def __init__(self, c: PrepareConfig) -> None:
        self.c = c
        self.corpus = Path(c.corpus or os.environ.get("CHIMERA_CORPUS", "."))
        self.tokenizer = ChatTokenizer(c.tokenizer)
        self.hashes, self.duplicates = WordHashes(), Duplicates(c.seed)
        self.contamination = Contamination([self._find(p) for p in c.decontaminate], self.hashes)

    def _find(self, path: str) -> Path:
        return Path(path) if path.startswith(("./", "/")) else self.corpus / path

    def documents(self, s: SourceConfig, dropped: Counter) -> Iterator[tuple[str, dict]]:
        """(text, record) of every document that stays; counts the others by reason."""
        rng = random.Random(f"{self.c.seed}-{s.name}")
        filters = build(Filters, s.filters)
        for record in read_lines(self._find(s.file)):
            dropped["read"] += 1
            origin = record.get("source", "")
            if (s.only and origin not in s.only) or origin in s.without:
                dropped["not_chosen"] += 1
                continue
            text = clean(_flat_text(record, s.kind, rng), code=s.kind == "code")
            reason, text = self._judge(text, s, filters, dropped)
            if reason:
                dropped[reason] += 1
                continue
            yield text, record

    def _judge(self, text: str, s: SourceConfig, filters: Filters, dropped: Counter) -> tuple[str | None, str]:
        if not text or self.duplicates.seen_exactly(text):
            return "duplicate" if text else "empty", text
        words = self.hashes.of(text)
        whole = self.contamination.cut(text, words)
        if whole != text:
            if s.kind in ("chat", "parallel") or not whole:
                return "evaluation", text
            dropped["evaluation_lines_cut"] += 1
            text, words = whole, self.hashes.of(whole)
        if s.kind == "text" and (reason := reject(text, words, s.language, filters)):
            return reason, text
        if s.near_duplicates and s.kind in ("text", "code") and self.duplicates.seen_nearly(words):
            return "near_duplicate", text
        return None, text

    def encode(self, s: SourceConfig, batch: list[tuple[str, dict]]) -> list[list[int]]:
        if s.kind == "chat":
            return [self.tokenizer.dialogue(record["messages"]) for _, record in batch]
        return self.tokenizer.texts([text for text, _ in batch])

    def held_out(self, text: str) -> bool:
        digest = hashlib.blake2b(text.encode(), digest_size=8, key=b"held out").digest()
        return int.from_bytes(digest, "little") < self.c.held_out * 2**64

    def licence(self, s: SourceConfig) -> str | dict[str, str]:
        """What the recipe says of the file, else what the corpus says of each source in it."""
        stated = file_licences(self.corpus, s.file)
        return s.licence or stated or "not stated"

    def source(self, s: SourceConfig) -> dict[str, Any]:
        if s.kind not in KINDS:
            raise ValueError(f"{s.name}: unknown kind {s.kind!r}")
        began, path = time.monotonic(), self._find(s.file)
        digest = file_sha256(path)
        if s.sha256 and s.sha256 != digest:
            raise ValueError(f"{s.file}: sha256 is {digest}, the recipe says {s.sha256}")
        out, dropped = Path(self.c.out), Counter()
        writers = {"": ShardWriter(out / f"{s.name}.bin"), ".val": ShardWriter(out / f"{s.name}.val.bin")}
        sizes = Counter()
        batch: list[tuple[str, dict]] = []

        def flush() -> None:
            for (text, _), ids in zip(batch, self.encode(s, batch), strict=True):
                part = ".val" if self.held_out(text) and writers[".val"].documents < self.c.held_out_documents else ""
                writers[part].add(ids)
                sizes[part] += len(text.encode())
            batch.clear()

        for i, document in enumerate(self.documents(s, dropped)):
            if s.max_documents and i >= s.max_documents:
                break
            batch.append(document)
            if len(batch) == BATCH:
                flush()
        flush()
        meta = {"source": s.name, "file": s.file, "file_sha256": digest, "kind": s.kind, "licence": self.licence(s),
                "language": s.language}
        closed = {part: w.close(meta | {"bytes": sizes[part]}) for part, w in writers.items()}
        if not closed[".val"]["documents"]:
            for suffix in (".bin", ".json"):
                (out / f"{s.name}.val{suffix}").unlink()
        report = closed[""] | {"held_out_tokens": closed[".val"]["tokens"], "left_out": dict(dropped),
                               "seconds": round(time.monotonic() - began, 1)}
        print(json.dumps(report, ensure_ascii=False), flush=True)
        return report


def prepare(raw: dict[str, Any]) -> list[dict[str, Any]]:
    c: PrepareConfig = build(PrepareConfig, {k: v for k, v in raw.items() if k != "mixture"})
    preparer = Preparer(c)
    print(f"{preparer.contamination.grams.size} runs of 13 words from evaluation sets", flush=True)
    reports = [preparer.source(build(SourceConfig, s)) for s in raw["sources"]]
    total = int(np.sum([r["tokens"] for r in reports]))
    write_atomic(Path(c.out) / "report.json", json.dumps({"tokens": total, "sources": reports}, ensure_ascii=False,
                                                         indent=1).encode())
    return reports
