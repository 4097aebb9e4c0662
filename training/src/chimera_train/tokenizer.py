"""Train the byte-level BPE tokenizer and measure it.

One source for both formats: the pattern and the control tokens come from ``assets/contract/special_tokens.json``; the
``tokenizer.json`` written here is what ``chimera convert`` reads the GGUF keys from. Text is NFC before the tokenizer,
never inside it (a normalizer would disagree with llama.cpp, which has none for this vocabulary type).
"""

from __future__ import annotations

import io
import json
import random
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import tokenizers
import zstandard


@dataclass(frozen=True, slots=True)
class Contract:
    """What the shipped model promises about its vocabulary."""

    vocab_size: int
    control: list[str]
    roles: dict[str, str]
    pattern: str

    @classmethod
    def load(cls, path: Path) -> Contract:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return cls(raw["vocab_size"], raw["control"], raw["roles"], raw["pattern"])


def read_records(path: Path) -> Iterator[dict]:
    """The JSON objects of a .jsonl.zst file, one a line."""
    with path.open("rb") as raw:
        stream = zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(raw)
        for line in io.TextIOWrapper(stream, encoding="utf-8"):
            yield json.loads(line)


def read_texts(path: Path) -> Iterator[str]:
    """NFC text of each record: `text`, or the joined contents of `messages`."""
    for record in read_records(path):
        yield unicodedata.normalize("NFC", document_text(record))


def document_text(record: dict) -> str:
    if "messages" in record:
        return "\n".join(message["content"] for message in record["messages"])
    return record["text"]


def sample(path: Path, megabytes: float, seed: int) -> list[str]:
    """Whole documents in seeded random order until `megabytes` of UTF-8 text are reached."""
    documents = list(read_texts(path))
    random.Random(seed).shuffle(documents)
    budget, chosen = int(megabytes * 1e6), []
    for document in documents:
        if budget <= 0:
            break
        chosen.append(document[: max(budget, 1)])
        budget -= len(document.encode("utf-8"))
    return chosen


def train(corpus: Path, recipe: dict, contract: Contract, vocab_size: int | None = None) -> tokenizers.Tokenizer:
    """Train on the recipe's sample; ids 0..len(control) are the control tokens, in the contract's order."""
    texts: list[str] = []
    for source in recipe["sources"]:
        texts += sample(corpus / source["file"], source["megabytes"], recipe["seed"])
    return train_on_texts(texts, contract, vocab_size or contract.vocab_size, recipe.get("min_frequency", 2))


def train_on_texts(
    texts: list[str], contract: Contract, vocab_size: int, min_frequency: int = 2
) -> tokenizers.Tokenizer:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [
            tokenizers.pre_tokenizers.Split(tokenizers.Regex(contract.pattern), "isolated"),
            tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=contract.control,
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise ValueError(
            f"the sample gave {tokenizer.get_vocab_size()} entries, {vocab_size} were asked for: give it more text"
        )
    return tokenizer


def tokens_per_word(tokenizer: tokenizers.Tokenizer, text: str) -> float:
    """Fertility: tokens over whitespace-separated words, line by line."""
    lines = [unicodedata.normalize("NFC", line) for line in text.splitlines() if line.strip()]
    tokens = sum(len(tokenizer.encode(line, add_special_tokens=False).ids) for line in lines)
    return tokens / sum(len(re.split(r"\s+", line.strip())) for line in lines)


def run(corpus: Path, recipe: dict, contract: Contract, out: Path) -> dict:
    """Train, save `tokenizer.json`, and report fertility on FLORES dev when the corpus has it."""
    tokenizer = train(corpus, recipe, contract)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(out / "tokenizer.json"))
    report = {"vocab_size": tokenizer.get_vocab_size()}
    for lang, name in (("hi", "hin_Deva.dev"), ("en", "eng_Latn.dev")):
        path = corpus / "eval/flores200" / name
        if path.is_file():
            report[f"tokens_per_word_{lang}"] = round(tokens_per_word(tokenizer, path.read_text("utf-8")), 4)
    (out / "tokenizer_report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report
