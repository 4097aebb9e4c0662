"""Every chat-like source becomes one form: roles alternate, pairs become requests, steps become thinking."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path

import pytest
import zstandard

from chimera_train import dialogues as d

OWN = Path(__file__).parents[1] / "data"


def write(path: Path, records: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records).encode()
    path.write_bytes(zstandard.ZstdCompressor().compress(io.BytesIO(raw).read()))
    return path


def say(*turns: tuple[str, str]) -> dict:
    return {"messages": [{"role": role, "content": text} for role, text in turns], "source": "s"}


@pytest.mark.parametrize(
    "turns",
    [
        [("user", "a"), ("user", "b")],
        [("assistant", "a"), ("user", "b")],
        [("user", "a"), ("assistant", "  ")],
        [("user", "only a question")],
    ],
)
def test_dialogues_that_do_not_alternate_or_say_nothing_are_dropped(turns: list[tuple[str, str]]) -> None:
    assert d.from_messages(say(*turns)) is None


def test_a_question_without_an_answer_at_the_end_is_cut() -> None:
    kept = d.from_messages(say(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c")))
    assert [m["content"] for m in kept["messages"]] == ["s", "a", "b"]


def test_long_turns_leave_the_dialogue_out(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl.zst", [say(("user", "a" * 20), ("assistant", "b")), say(("user", "a"), ("assistant", "b"))])
    assert len(list(d.keep(path, None, 10, 10))) == 1


def test_pairs_become_requests_in_both_directions(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl.zst", [{"hi": "नमस्ते", "en": "Hello", "source": "t"}])
    to_english, to_hindi = d.translations(path, random.Random(1), None, both=True)
    assert to_english["messages"][0]["content"].endswith("नमस्ते") and to_english["messages"][1]["content"] == "Hello"
    assert "Hello" in to_hindi["messages"][0]["content"] and to_hindi["messages"][1]["content"] == "नमस्ते"


def test_held_out_families_are_never_trained_on(tmp_path: Path) -> None:
    records = [
        {"question": f"q{i}", "answer": "1", "think": "steps", "family": f"f{i % 20}", "source": "g"} for i in range(400)
    ]
    write(tmp_path / "verifiable/generated-reasoning.jsonl.zst", records)
    excluded = d.held_out_families(tmp_path)
    assert len(excluded) == d.HELD_OUT_FAMILIES
    seen = {m["messages"][0]["content"] for m in d.problems(tmp_path, random.Random(1), thinking=True)}
    assert seen and not any(f"f{int(q[1:]) % 20}" in excluded for q in seen)
    assert next(d.problems(tmp_path, random.Random(1), thinking=True))["messages"][1]["thinking"] == "steps"
    assert "thinking" not in next(d.problems(tmp_path, random.Random(1), thinking=False))["messages"][1]


def test_own_dialogues_answer_in_the_language_of_the_question() -> None:
    for dialogue in d.identity(OWN / "identity.yaml", random.Random(1)):
        question, answer = (any("\u0900" <= ch <= "\u097f" for ch in m["content"]) for m in dialogue["messages"])
        assert question == answer, dialogue


def test_every_english_entry_has_questions_and_an_answer() -> None:
    entries = list(d.knowledge(OWN / "english.yaml"))
    assert len(entries) > 150 and all(m["content"] for e in entries for m in e["messages"])
