"""Word hashes, and what is built on them: exact and near duplicates (MinHash, Broder 1997), and 13-gram
decontamination against the evaluation sets (Brown et al. 2020, appendix C)."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import zstandard

from chimera_train.data.clean import WORD

GRAM = 13
SHINGLE = 5
BANDS, ROWS = 8, 8  # two documents of Jaccard similarity 0.77 meet in one of the bands half the time
SIMILAR = 0.75


class WordHashes(dict):
    """word → 64 stable bits, remembered."""

    def __missing__(self, word: str) -> int:
        value = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        self[word] = value
        return value

    def of(self, text: str) -> np.ndarray:
        words = WORD.findall(text.lower())
        return np.fromiter((self[w] for w in words), dtype=np.uint64, count=len(words))


def ngrams(words: np.ndarray, n: int) -> np.ndarray:
    """A polynomial hash (mod 2^64) of every run of n words."""
    if words.size < n:
        return np.empty(0, dtype=np.uint64)
    out = np.zeros(words.size - n + 1, dtype=np.uint64)
    for k in range(n):
        out = out * np.uint64(0x9E3779B97F4A7C15) + words[k : words.size - n + 1 + k]
    return out


class Duplicates:
    """Says of each new document whether one like it has been seen."""

    def __init__(self, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.multiply = rng.integers(1, 2**63, BANDS * ROWS, dtype=np.uint64) | np.uint64(1)
        self.add = rng.integers(0, 2**63, BANDS * ROWS, dtype=np.uint64)
        self.exact: set[bytes] = set()
        self.bands: list[dict[bytes, int]] = [{} for _ in range(BANDS)]
        self.signatures: list[np.ndarray] = []

    def seen_exactly(self, text: str) -> bool:
        key = hashlib.blake2b(text.encode(), digest_size=16).digest()
        if key in self.exact:
            return True
        self.exact.add(key)
        return False

    def signature(self, words: np.ndarray) -> np.ndarray:
        shingles = np.unique(ngrams(words, SHINGLE))
        low = np.full(BANDS * ROWS, np.iinfo(np.uint64).max, dtype=np.uint64)
        for part in range(0, shingles.size, 2048):
            mixed = shingles[part : part + 2048, None] * self.multiply[None, :] + self.add[None, :]
            low = np.minimum(low, (mixed >> np.uint64(32)).min(axis=0))
        return low.astype(np.uint32)

    def seen_nearly(self, words: np.ndarray) -> bool:
        if words.size < 4 * SHINGLE:
            return False
        mine = self.signature(words)
        keys = [mine[i * ROWS : (i + 1) * ROWS].tobytes() for i in range(BANDS)]
        for band, key in zip(self.bands, keys, strict=True):
            other = band.get(key)
            if other is not None and np.mean(self.signatures[other] == mine) >= SIMILAR:
                return True
        self.signatures.append(mine)
        for band, key in zip(self.bands, keys, strict=True):
            band.setdefault(key, len(self.signatures) - 1)
        return False


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for v in value.values():
            yield from _strings(v)
    elif isinstance(value, list):
        for v in value:
            yield from _strings(v)


def _lines_of(path: Path) -> Iterator[str]:
    raw = path.read_bytes()
    if path.suffix == ".zst":
        raw = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(io.BytesIO(raw)).read()
    if ".tar" in path.suffixes:
        with tarfile.open(fileobj=io.BytesIO(raw)) as tar:
            for member in tar:
                if member.isfile():
                    yield from tar.extractfile(member).read().decode("utf-8", "replace").splitlines()
    else:
        yield from raw.decode("utf-8", "replace").splitlines()


def evaluation_texts(root: Path) -> Iterator[str]:
    """Every text of every file below: the strings of JSON lines, other lines as they are."""
    for path in sorted(p for p in root.rglob("*") if p.is_file() and p.suffix != ".md"):
        for line in _lines_of(path):
            try:
                yield from _strings(json.loads(line))
            except ValueError:
                yield line


class Contamination:
    def __init__(self, roots: list[Path], hashes: WordHashes) -> None:
        found = [ngrams(hashes.of(text), GRAM) for root in roots for text in evaluation_texts(root)]
        self.grams = np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.uint64)

    def hits(self, words: np.ndarray) -> np.ndarray:
        """Positions where a run of 13 words of an evaluation text begins."""
        grams = ngrams(words, GRAM)
        if not grams.size or not self.grams.size:
            return np.empty(0, dtype=np.int64)
        at = np.searchsorted(self.grams, grams)
        at[at == self.grams.size] = 0
        return np.flatnonzero(self.grams[at] == grams)

    def cut(self, text: str, words: np.ndarray) -> str:
        """The document without the lines that such a run touches."""
        hits = self.hits(words)
        if not hits.size:
            return text
        touched = np.zeros(words.size, dtype=bool)
        for hit in hits.tolist():
            touched[hit : hit + GRAM] = True
        kept, at = [], 0
        for line in text.split("\n"):
            n = len(WORD.findall(line.lower()))
            if not touched[at : at + n].any():
                kept.append(line)
            at += n
        return "\n".join(kept).strip()
