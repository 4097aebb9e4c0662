"""The prompt format of the contract, in token ids.

    <|im_start|>system\\n{system}<|im_end|>\\n<|im_start|>user\\n{text}<|im_end|>\\n<|im_start|>assistant\\n{answer}<|im_end|>\\n

Control tokens enter only as ids; whatever a text contains is encoded as ordinary text. An assistant's header and
answer are encoded apart, because at run time the prompt ends between them.
"""

from __future__ import annotations

import unicodedata
from functools import cached_property
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

ENDOFTEXT, IM_START, IM_END, THINK, END_THINK = 0, 1, 2, 3, 4
ROLES = ("system", "user", "assistant")


class ChatTokenizer:
    def __init__(self, path: str | Path) -> None:
        self.inner = Tokenizer.from_file(str(path))
        self.inner.encode_special_tokens = True  # text that looks like a control token stays text
        for text, at in (("<|endoftext|>", ENDOFTEXT), ("<|im_start|>", IM_START), ("<|im_end|>", IM_END)):
            if self.inner.token_to_id(text) != at:
                raise ValueError(f"{path}: {text} is not token {at}")

    @property
    def vocab_size(self) -> int:
        return self.inner.get_vocab_size()

    def text(self, text: str) -> list[int]:
        return self.inner.encode(text, add_special_tokens=False).ids

    def texts(self, texts: list[str]) -> list[list[int]]:
        return [e.ids for e in self.inner.encode_batch_fast(texts, add_special_tokens=False)]

    def decode(self, ids: list[int]) -> str:
        return self.inner.decode(ids, skip_special_tokens=False)

    @cached_property
    def newline(self) -> list[int]:
        return self.text("\n")

    @cached_property
    def assistant_header(self) -> list[int]:
        return [IM_START, *self.text("assistant\n")]

    def answer(self, content: str, thinking: str = "") -> list[int]:
        """`<think>\\n…\\n</think>\\n\\n{answer}` when there is thinking."""
        ids = [THINK, *self.text(f"\n{thinking}\n"), END_THINK, *self.text(f"\n\n{content}")] if thinking else self.text(content)
        return [*ids, IM_END]

    def dialogue(self, messages: list[dict[str, str]]) -> list[int]:
        ids: list[int] = []
        for m in messages:
            role = m["role"]
            if role not in ROLES:
                raise ValueError(f"unknown role {role!r}")
            content = clean_message(m["content"])
            if role == "assistant":
                ids += [*self.assistant_header, *self.answer(content, clean_message(m.get("thinking") or ""))]
            else:
                ids += [IM_START, *self.text(f"{role}\n{content}"), IM_END]
            ids += self.newline
        return ids

    def prompt(self, messages: list[dict[str, str]]) -> list[int]:
        return self.dialogue(messages) + self.assistant_header


def clean_message(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def answer_mask(tokens: np.ndarray, header: list[int]) -> np.ndarray:
    """1 on the tokens an assistant says: after its header, up to and including `<|im_end|>`."""
    tokens = np.asarray(tokens)
    mask = np.zeros(tokens.shape[0], dtype=np.uint8)
    starts = np.flatnonzero(tokens == IM_START)
    ends = np.flatnonzero(tokens == IM_END)
    n = len(header)
    for start in starts.tolist():
        if tokens[start : start + n].tolist() != header:
            continue
        at = np.searchsorted(ends, start + n)
        stop = int(ends[at]) + 1 if at < len(ends) else tokens.shape[0]
        mask[start + n : stop] = 1
    return mask
