"""Rows of exactly `length + 1` tokens, cut at document starts, drawn from a mixture: the same rows for the same
(seed, counters), on any number of ranks, and after any resume.

Each source is cut once into *plans*: lists of document pieces that together fill a row (best-fit decreasing, so a
row hardly ever needs padding and short documents stay whole). Epochs visit the plans in a new seeded order.
The mixture is a fair scheduler: the source that is furthest behind its share gives the next row.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from chimera_train.data.shards import Shard, open_shard

IGNORE = -100
Learn = Callable[[np.ndarray], np.ndarray]  # a shard's tokens → 1 where the loss counts


@dataclass(frozen=True)
class Part:
    """One source's share of the mixture. `schedule` lists (progress, weight): linear in between, constant outside."""

    name: str
    weight: float = 1.0
    schedule: tuple[tuple[float, float], ...] = ()
    epochs: float | None = None  # instead of a weight: passes over the source

    def resolve(self, n_tokens: int) -> Part:
        """Epochs become a weight: the tokens they ask for, spread over the share of the run they are asked in."""
        if self.epochs is None:
            return self
        xs = [x for x, y in self.schedule if y > 0] or [0.0, 1.0]
        density = self.epochs * n_tokens / max(1e-6, max(xs) - min(xs))
        return replace(self, weight=density, schedule=tuple((x, y * density) for x, y in self.schedule), epochs=None)

    def at(self, progress: float) -> float:
        if not self.schedule:
            return self.weight
        xs, ys = zip(*self.schedule, strict=True)
        return float(np.interp(progress, xs, ys))


def part_from_dict(name: str, raw: float | dict) -> Part:
    """`hi-modern: 3.0`, or `{weight: 1, from: 0.7}`, or `{epochs: 4}`, or `{schedule: [[0, 1], [0.7, 0.2]]}`."""
    if not isinstance(raw, dict):
        return Part(name, float(raw))
    if "schedule" in raw:
        return Part(name, schedule=tuple((float(x), float(y)) for x, y in raw["schedule"]))
    if unknown := set(raw) - {"weight", "epochs", "from", "until"}:
        raise ValueError(f"mixture {name}: unknown option(s) {sorted(unknown)}")
    epochs = float(raw["epochs"]) if "epochs" in raw else None
    weight, start, stop = float(raw.get("weight", 1.0)), float(raw.get("from", 0.0)), float(raw.get("until", 1.0))
    steps = []
    if start > 0:
        steps += [(0.0, 0.0), (start - 1e-9, 0.0)]
    steps += [(start, weight), (stop, weight)]
    if stop < 1:
        steps += [(stop + 1e-9, 0.0), (1.0, 0.0)]
    return Part(name, weight, tuple(steps) if start > 0 or stop < 1 else (), epochs)


def _pieces(shard: Shard, room: int, skip: int = 0) -> np.ndarray:
    """(start, length) of every document without its first `skip` tokens, longer ones cut into pieces of `room`."""
    out = []
    for start, stop in zip((shard.starts + skip).tolist(), shard.stops.tolist(), strict=True):
        for at in range(start, stop, room):
            out.append((at, min(room, stop - at)))
    return np.array(out, dtype=np.int64).reshape(-1, 2)


def pack(lengths: np.ndarray, room: int) -> list[list[int]]:
    """Best-fit decreasing: each piece goes into the fullest row that still holds it."""
    rows: list[list[int]] = []
    open_rows: list[list[int]] = [[] for _ in range(room + 1)]  # by space left
    spaces: list[int] = []  # sorted, the spaces that have a row
    for i in np.argsort(-lengths, kind="stable").tolist():
        need = int(lengths[i])
        at = bisect.bisect_left(spaces, need)
        if at == len(spaces):
            rows.append([i])
            row, left = len(rows) - 1, room - need
        else:
            space = spaces[at]
            row = open_rows[space].pop()
            if not open_rows[space]:
                spaces.pop(at)
            rows[row].append(i)
            left = space - need
        if left:
            if not open_rows[left]:
                bisect.insort(spaces, left)
            open_rows[left].append(row)
    return rows


class Source:
    """One shard, planned for one row length. With `learn` (dialogues) the separator before a document stays out:
    at run time a conversation begins with `<|im_start|>`."""

    def __init__(self, shard: Shard, length: int, seed: int, learn: np.ndarray | None = None) -> None:
        self.shard, self.room, self.seed, self.learn = shard, length + 1, seed, learn
        self.pieces = _pieces(shard, self.room, skip=0 if learn is None else 1)
        self.plans = pack(self.pieces[:, 1], self.room)
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def row(self, index: int) -> np.ndarray:
        """Row `index` counted over all epochs: (3, room) = token, document number, 1 where it is to be learnt."""
        epoch, at = divmod(index, len(self.plans))
        if epoch != self._epoch:
            self._order = np.random.default_rng([self.seed, epoch]).permutation(len(self.plans))
            self._epoch = epoch
        out = np.zeros((3, self.room), dtype=np.int64)
        fill = 0
        order = np.random.default_rng([self.seed, epoch, at, 1]).permutation(self.plans[self._order[at]])
        for number, piece in enumerate(order):
            start, length = self.pieces[piece]
            out[0, fill : fill + length] = self.shard.tokens[start : start + length]
            out[1, fill:] = number
            out[2, fill : fill + length] = 1 if self.learn is None else self.learn[start : start + length]
            fill += length
        return out


@dataclass
class MixtureState:
    """All there is to resume: what each source has given, and how far each is behind its share."""

    tokens: dict[str, int] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)  # at the present length
    credit: dict[str, float] = field(default_factory=dict)
    length: int = 0


@dataclass(frozen=True)
class Batch:
    ids_bt: np.ndarray
    target_bt: np.ndarray  # IGNORE where there is nothing to learn
    seq_bt: np.ndarray  # document number within the row
    n_targets: int  # of this rank


class Mixture:
    """The training stream of one run. Every rank draws the whole global batch and builds its own rows of it."""

    def __init__(self, folder: Path, parts: list[Part], length: int, seed: int,
                 state: MixtureState | None = None, learn: Learn | None = None) -> None:
        self.seed = seed
        self.shards = {p.name: open_shard(folder, p.name) for p in sorted(parts, key=lambda p: p.name)}
        self._planned = sum(math.inf if p.epochs is None else p.epochs * self.shards[p.name].n_tokens for p in parts)
        self.parts = [p.resolve(self.shards[p.name].n_tokens) for p in sorted(parts, key=lambda p: p.name)]
        self.learn = {n: learn(s.tokens) for n, s in self.shards.items()} if learn else {}
        names = [p.name for p in self.parts]
        self.state = state or MixtureState({n: 0 for n in names}, {n: 0 for n in names}, {n: 0.0 for n in names}, length)
        self._plan(self.state.length)
        self.set_length(length)

    def _plan(self, length: int) -> None:
        self.sources = {p.name: Source(self.shards[p.name], length, self.seed + i, self.learn.get(p.name))
                        for i, p in enumerate(self.parts)}

    def set_length(self, length: int) -> None:
        """A new row length goes on where the old one stood: the same share of an epoch counts as seen."""
        if length != self.state.length:
            self.state.rows = {n: tokens // (length + 1) for n, tokens in self.state.tokens.items()}
            self.state.length = length
            self._plan(length)

    def draw(self, progress: float) -> tuple[str, int]:
        weights = {p.name: p.at(progress) for p in self.parts}
        total = sum(weights.values())
        if total <= 0:
            raise ValueError(f"no source has weight at progress {progress:.3f}")
        for name, weight in weights.items():
            self.state.credit[name] += weight / total
        name = max((n for n, w in weights.items() if w > 0), key=lambda n: self.state.credit[n])
        self.state.credit[name] -= 1.0
        row = self.state.rows[name]
        self.state.rows[name] += 1
        self.state.tokens[name] += self.state.length + 1
        return name, row

    def batch(self, progress: float, rows: int, rank: int = 0, world: int = 1) -> Batch:
        """`rows` rows for each rank."""
        drawn = [self.draw(progress) for _ in range(rows * world)]
        mine = drawn[rank * rows : (rank + 1) * rows]
        return to_batch(np.stack([self.sources[name].row(row) for name, row in mine]))

    def planned_tokens(self) -> float:
        """What the epochs asked for add up to; infinite when a source has only a weight."""
        return self._planned

    def epochs(self) -> dict[str, float]:
        return {n: self.state.tokens[n] / max(1, s.n_tokens) for n, s in self.shards.items()}


def to_batch(rows_bct: np.ndarray) -> Batch:
    """(b, 3, t+1) → inputs and next-token targets."""
    ids, seq, learn = rows_bct[:, 0], rows_bct[:, 1], rows_bct[:, 2]
    counts = learn[:, 1:] > 0
    target = np.where(counts, ids[:, 1:], IGNORE)
    return Batch(np.ascontiguousarray(ids[:, :-1]), target, seq[:, :-1].astype(np.int32), int(counts.sum()))


def held_out(folder: Path, name: str, length: int, rows: int, learn: Learn | None = None) -> Batch:
    """Exactly `rows` rows of a source's validation shard (empty ones where it is short), in a fixed order."""
    shard = open_shard(folder, f"{name}.val")
    source = Source(shard, length, 0, learn(shard.tokens) if learn else None)
    out = np.zeros((rows, 3, length + 1), dtype=np.int64)
    for i in range(min(rows, len(source.plans))):
        out[i] = source.row(i)
    return to_batch(out)
