"""What a document must look like to be read: NFC, no control characters, the script it claims, not a loop."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np
import regex

# Zero-width joiner and non-joiner (U+200C, U+200D) carry meaning in Devanagari and stay.
CONTROL = regex.compile(r"[\p{Cc}\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\ufeff\ufffd--[\n\t]]", regex.V1)
SPACES = regex.compile(r"[^\S\n]+")
BLANK_LINES = regex.compile(r"\n{3,}")
WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")
SCRIPTS = {"hi": regex.compile(r"\p{Devanagari}"), "en": regex.compile(r"\p{Latin}")}
LETTER = regex.compile(r"[\p{L}\p{M}]")


def clean(text: str, code: bool = False) -> str:
    """Code keeps its indentation, prose does not need its own."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))
    text = CONTROL.sub("", text)
    if code:
        return text.strip("\n") + "\n"
    text = "\n".join(line.strip() for line in SPACES.sub(" ", text).split("\n"))
    return BLANK_LINES.sub("\n\n", text).strip()


@dataclass(frozen=True)
class Filters:
    min_characters: int = 40
    min_script: float = 0.6  # share of the letters in the language's script
    min_distinct_trigrams: float = 0.35
    max_repeated_lines: float = 0.4


def script_share(text: str, language: str) -> float:
    script = SCRIPTS.get(language)
    sample = text[:4000]
    letters = len(LETTER.findall(sample))
    return 1.0 if script is None or letters == 0 else len(script.findall(sample)) / letters


def reject(text: str, words: np.ndarray, language: str, f: Filters) -> str | None:
    """The reason why a document is left out, or None."""
    if len(text) < f.min_characters:
        return "short"
    if script_share(text, language) < f.min_script:
        return "script"
    if words.size >= 60:
        trigrams = words[:-2] * np.uint64(3) + words[1:-1] * np.uint64(5) + words[2:] * np.uint64(7)
        if np.unique(trigrams).size < f.min_distinct_trigrams * trigrams.size:
            return "repetitive"
    lines = [line for line in text.split("\n") if line]
    if len(lines) >= 8 and 1 - len(set(lines)) / len(lines) > f.max_repeated_lines:
        return "repeated_lines"
    return None
