"""The data statement of a release: every source with its origin and stated licence, and the share of the training
tokens that each kind of licence stands for. Names, licences and sizes only; never text.

Reads `SOURCES-*.tsv` of the corpus and what a run says it has read (tokens per mixture part).
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

# Which corpus file a mixture part was made from, where the names differ.
PART_FILES = {
    "mid-en": "chat/imported-en", "mid-cot": "chat/imported-cot-en", "mid-hi": "chat/imported-hi",
    "mid-pairs": "parallel/en-hi", "parallel": "parallel/en-hi", "reason-bare": "verifiable/generated-reasoning",
}  # fmt: skip


def licence_class(licence: str) -> str:
    """A coarse reading of a stated licence; the strictest word in it decides."""
    text = licence.lower()
    for label, words in (
        ("not stated", ("not stated", "not checked", "see debian")),
        ("non-commercial", ("-nc", "by-nc", "non-commercial")),
        ("GPL", ("gpl-2", "gpl-3", "gpl ")),
        ("share-alike", ("by-sa", "odbl", "sharing", "lgpl")),
        ("attribution or permissive", ("mit", "apache", "bsd", "cc by", "isc", "psf", "mpl", "python")),
        ("public domain or made by program", ("cc0", "public domain", "none needed")),
    ):
        if any(word in text for word in words):
            return label
    return "not stated"


def read_sources(corpus: Path) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for table in sorted(corpus.glob("SOURCES-*.tsv")):
        with table.open(encoding="utf-8") as f:
            for row in csv.DictReader(f, delimiter="\t"):
                megabytes = row.get("raw_MB") or "0"
                rows.append({"file": _full_name(row["file"], row["source"]), "source": row["source"],
                             "origin": row.get("origin") or "written for Chimera", "licence": row["licence"],
                             "megabytes": megabytes})  # fmt: skip
    return rows


def tokens_read(run: Path) -> dict[str, int]:
    """Mixture part → tokens that a finished run has read of it: its passes times the shard's size."""
    shards = json.loads((run / "data.json").read_text("utf-8"))["shards"]
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    done = [e for e in events if e.get("event") == "done"]
    if not done:
        raise ValueError(f"{run} has not finished: its metrics have no `done`")
    return {name: round(passes * shards[name]["tokens"]) for name, passes in done[-1]["epochs"].items()}


def file_licences(corpus: Path, file: str) -> dict[str, str]:
    """Source → stated licence, for one file of the corpus; empty where the corpus has no tables."""
    name = file.removesuffix(".zst").removesuffix(".jsonl")
    return {row["source"]: row["licence"] for row in read_sources(corpus) if row["file"] == name}


def _full_name(file: str, source: str) -> str:
    """The Hindi table abbreviates: `chat` and `parallel` stand for the imported file of that folder."""
    if file == "chat":
        return "chat/imported-hi"
    return "parallel/en-hi" if file == "parallel" else file


def shares(rows: list[dict[str, str]], tokens: dict[str, int]) -> dict[str, float]:
    """Licence class → share of all training tokens; a file's tokens are split over its sources by megabytes."""
    by_file: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_file[row["file"]].append(row)
    out: dict[str, float] = defaultdict(float)
    for part, count in tokens.items():
        file = PART_FILES.get(part, f"pretrain/{part}")
        sources = by_file.get(file)
        if not sources:
            out["public domain or made by program" if "reason" in part else "not stated"] += count
            continue
        total = sum(float(s["megabytes"]) for s in sources) or 1.0
        for s in sources:
            out[licence_class(s["licence"])] += count * float(s["megabytes"]) / total
    everything = sum(out.values()) or 1.0
    return {k: v / everything for k, v in sorted(out.items(), key=lambda kv: -kv[1])}


def markdown(rows: list[dict[str, str]], tokens: dict[str, int]) -> str:
    lines = ["| licence, as stated by the source | share of the pretraining tokens |", "|---|---|"]
    lines += [f"| {name} | {share:.1%} |" for name, share in shares(rows, tokens).items()]
    lines += ["", "| file | source | origin | stated licence | MB |", "|---|---|---|---|---|"]
    lines += [
        f"| {r['file']} | {r['source']} | {_cell(r['origin'])} | {_cell(r['licence'])} | {r['megabytes']} |"
        for r in sorted(rows, key=lambda r: (r["file"], r["source"]))
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "/").strip()
