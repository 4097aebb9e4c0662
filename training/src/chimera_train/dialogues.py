"""Turn every chat-like source of the corpus into one form: ``{"messages": [{role, content, thinking?}], "source"}``.

Three kinds of source: files that already hold ``messages``; sentence pairs, which become translation requests; verifiable
problems, which become a question with a bare answer, or with the worked steps as ``thinking``. The project's own
``data/identity.yaml`` says who Chimera is, ``data/english.yaml`` is plain English knowledge. The output (``.jsonl``, one file a group) is what ``sft`` and the
chat-format part of pretraining read.
"""

from __future__ import annotations

import json
import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from chimera_train.tokenizer import read_records

Dialogue = dict

# Families never trained on: the evaluation of reasoning uses them (alignment report).
HELD_OUT_FAMILIES = 6

TO_HINDI = (
    "इसका हिंदी में अनुवाद करो: {}",
    "हिंदी में अनुवाद कीजिए: {}",
    "Translate into Hindi: {}",
    "Translate this to Hindi: {}",
    "isko hindi mein likho: {}",
    "How do you say this in Hindi? {}",
)
TO_ENGLISH = (
    "इसका अंग्रेज़ी में अनुवाद करो: {}",
    "अंग्रेज़ी में बताइए: {}",
    "Translate into English: {}",
    "What does this mean in English? {}",
    "iska english mein matlab batao: {}",
)


@dataclass(frozen=True, slots=True)
class Group:
    """One output file: where its dialogues come from and which are kept."""

    name: str
    build: Callable[[Path, random.Random], Iterable[Dialogue]]


def turn(role: str, content: str, thinking: str = "") -> dict:
    message = {"role": role, "content": unicodedata.normalize("NFC", content).strip()}
    if thinking.strip():
        message["thinking"] = unicodedata.normalize("NFC", thinking).strip()
    return message


def pair(question: str, answer: str, source: str, thinking: str = "") -> Dialogue:
    return {"messages": [turn("user", question), turn("assistant", answer, thinking)], "source": source}


def from_messages(record: dict) -> Dialogue | None:
    """Keep roles and contents; an empty turn, or two turns of one role in a row, drops the dialogue."""
    messages = [turn(m["role"], m["content"]) for m in record["messages"]]
    roles = [m["role"] for m in messages if m["role"] != "system"]
    alternates = all(role == ("user", "assistant")[i % 2] for i, role in enumerate(roles))
    if not alternates or not roles or any(not m["content"] for m in messages):
        return None
    if roles[-1] == "user":
        messages.pop()
    return {"messages": messages, "source": record.get("source", "")} if len(messages) > 1 else None


def keep(
    path: Path, sources: set[str] | None = None, max_question: int = 10**9, max_answer: int = 10**9
) -> Iterator[Dialogue]:
    """Dialogues of a `messages` file whose turns stay under the given characters."""
    for record in read_records(path):
        if sources is not None and record.get("source") not in sources:
            continue
        dialogue = from_messages(record)
        if dialogue and all(
            len(m["content"]) <= (max_answer if m["role"] == "assistant" else max_question)
            for m in dialogue["messages"]
        ):
            yield dialogue


def translations(path: Path, rng: random.Random, sources: set[str] | None, both: bool) -> Iterator[Dialogue]:
    """Sentence pairs as requests, in one direction at random or in both."""
    for record in read_records(path):
        hindi, english = record.get("hi") or record.get("hinglish"), record.get("en")
        if not hindi or not english or (sources is not None and record.get("source") not in sources):
            continue
        source = record.get("source", "")
        if both or rng.random() < 0.5:
            yield pair(rng.choice(TO_ENGLISH).format(hindi.strip()), english, source)
        if "hi" in record and (both or rng.random() < 0.5):
            yield pair(rng.choice(TO_HINDI).format(english.strip()), hindi, source)


def held_out_families(corpus: Path) -> set[str]:
    """The last families in alphabetical order of a seeded shuffle: stable as long as the file's family set is."""
    families = sorted({r["family"] for r in read_records(corpus / "verifiable/generated-reasoning.jsonl.zst")})
    random.Random(7).shuffle(families)
    return set(families[:HELD_OUT_FAMILIES])


def problems(corpus: Path, rng: random.Random, thinking: bool) -> Iterator[Dialogue]:
    """Generated problems, with their steps as thinking or with the bare answer; held-out families are left out."""
    excluded = held_out_families(corpus)
    for record in read_records(corpus / "verifiable/generated-reasoning.jsonl.zst"):
        if record["family"] in excluded or rng.random() < 0.5:
            continue
        answer = " ".join(filter(None, (str(record["answer"]), record.get("unit", ""))))
        steps = record.get("think", "") if thinking else ""
        yield pair(record["question"], answer, record["source"], steps)


def worked(corpus: Path, sources: set[str]) -> Iterator[Dialogue]:
    """English problems whose solution is the answer's text, the result in its last sentence."""
    for record in read_records(corpus / "verifiable/imported-en.jsonl.zst"):
        if record["source"] in sources and record.get("solution"):
            text = f"{record['solution'].strip()}\nThe answer is {record['answer']}."
            yield pair(record["question"], text, record["source"])


def identity(path: Path, rng: random.Random) -> Iterator[Dialogue]:
    """Every question of every intent, alone and after a greeting, with an answer drawn from the same language."""
    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    for intent in recipe["intents"]:
        for language in ("hi", "hinglish", "en"):
            block = intent[language]
            for question in block["ask"]:
                yield pair(question, rng.choice(block["say"]), "identity")
                yield pair(question.rstrip("?।. "), rng.choice(block["say"]), "identity")
                if intent["name"] not in ("greeting", "thanks", "bye"):
                    greeting = rng.choice(recipe["greetings"][language])
                    lowered = question[0].lower() + question[1:]
                    yield pair(f"{greeting}, {lowered}", rng.choice(block["say"]), "identity")


def knowledge(path: Path) -> Iterator[Dialogue]:
    """`[[question, …], answer]` entries: one dialogue for each way to ask."""
    for questions, answer in yaml.safe_load(path.read_text(encoding="utf-8")):
        for question in questions:
            yield pair(question, answer, "project-english")


ARITHMETIC = re.compile(r"Step 1:|Final Answer", re.IGNORECASE)
CLEAN_EN = {"dolly_partial", "misc_instruct", "oasst_eval_subset", "gpteacher_roleplay"}
GOOD_PAIRS = {"parallel_tatoeba", "parallel_tico19", "parallel_hinglish_top"}


def short_snakes(corpus: Path) -> Iterator[Dialogue]:
    """Short plain questions and answers of the largest instruction set, without its arithmetic and table drills."""
    for dialogue in keep(corpus / "chat/imported-en.jsonl.zst", {"snakes_instruct"}, 300, 900):
        text = dialogue["messages"][-1]["content"]
        if not ARITHMETIC.search(text) and "```" not in text and "|" not in text and len(text) > 20:
            yield dialogue


def sft_groups(corpus: Path, own: Path) -> list[Group]:
    chat = corpus / "chat"
    pairs = corpus / "parallel"
    return [
        Group("identity", lambda _, rng: identity(own / "identity.yaml", rng)),
        Group("english", lambda *_: knowledge(own / "english.yaml")),
        Group("authored-hi", lambda *_: keep(chat / "authored-hi.jsonl.zst")),
        Group("authored-hinglish", lambda *_: keep(chat / "authored-hinglish.jsonl.zst")),
        Group("authored-en", lambda *_: keep(chat / "authored-en.jsonl.zst")),
        Group("authored-safety", lambda *_: keep(chat / "authored-safety.jsonl.zst")),
        Group("hi-knowledge", lambda *_: keep(chat / "imported-hi.jsonl.zst", {"chat_hindgk", "chat_gk_hi"})),
        Group("hi-dialog", lambda *_: keep(chat / "imported-hi.jsonl.zst", {"chat_dailydialog_hi"})),
        Group("hi-math", lambda *_: keep(chat / "imported-hi.jsonl.zst", {"chat_hawp_math"})),
        Group("en-clean", lambda *_: keep(chat / "imported-en.jsonl.zst", CLEAN_EN, 500, 1200)),
        Group("en-short", lambda *_: short_snakes(corpus)),
        Group("en-code", lambda *_: keep(chat / "imported-en.jsonl.zst", {"code_instruct"}, 400, 900)),
        Group("en-safety", lambda *_: keep(chat / "imported-en.jsonl.zst", {"safety_instruct"}, 300, 600)),
        Group("translate-authored", lambda _, rng: translations(pairs / "authored-en-hi.jsonl.zst", rng, None, True)),
        Group("translate", lambda _, rng: translations(pairs / "en-hi.jsonl.zst", rng, GOOD_PAIRS, False)),
        Group("reason-bare", lambda _, rng: problems(corpus, rng, thinking=False)),
        Group("reason-think", lambda _, rng: problems(corpus, rng, thinking=True)),
        Group("reason-en", lambda *_: worked(corpus, {"verify_gsm8k_train", "verify_word_problems"})),
    ]


def mid_groups(corpus: Path) -> list[Group]:
    """Chat-format text for the last part of pretraining: everything, also what is too plain for fine-tuning."""
    chat = corpus / "chat"
    return [
        Group("mid-en", lambda *_: keep(chat / "imported-en.jsonl.zst")),
        Group("mid-cot", lambda *_: keep(chat / "imported-cot-en.jsonl.zst")),
        Group("mid-hi", lambda *_: keep(chat / "imported-hi.jsonl.zst")),
        Group("mid-pairs", lambda _, rng: translations(corpus / "parallel/en-hi.jsonl.zst", rng, None, True)),
    ]


def build(corpus: Path, own: Path, out: Path, seed: int = 20261125) -> dict[str, int]:
    """Write every group (`own` is the folder of the project's own dialogues); returns dialogues per group."""
    out.mkdir(parents=True, exist_ok=True)
    counts = {}
    for group in sft_groups(corpus, own) + mid_groups(corpus):
        rng = random.Random(f"{seed}-{group.name}")
        dialogues = list(group.build(corpus, rng))
        rng.shuffle(dialogues)
        lines = (json.dumps(d, ensure_ascii=False) + "\n" for d in dialogues)
        (out / f"{group.name}.jsonl").write_text("".join(lines), encoding="utf-8")
        counts[group.name] = len(dialogues)
    return counts
