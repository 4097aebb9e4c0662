"""Chat tuning: the pretraining loop on dialogues, with the loss on the assistant's words only, dialogues of a row
kept apart (scan, convolution and attention), and the matrices already on their Q4_0 grid if the recipe says so."""

from __future__ import annotations

from typing import Any

from chimera_train.chatml import ChatTokenizer, answer_mask
from chimera_train.train import Trainer

DEFAULTS = {"documents": "full", "answers_only": True}


def sft(raw: dict[str, Any]) -> dict[str, float]:
    raw = raw | {"train": DEFAULTS | raw.get("train", {})}
    learn = None
    if raw["train"]["answers_only"]:
        header = ChatTokenizer(raw["tokenizer"]).assistant_header
        learn = lambda tokens: answer_mask(tokens, header)  # noqa: E731
    return Trainer(raw, learn).fit()
