"""Bits per byte as llama-perplexity measures it: the text cut into windows of `context` tokens, each read with an
empty state, the second half of each window scored. bpb = log2(PPL) · tokens / bytes of the whole text."""

from __future__ import annotations

import json
import math
import unicodedata
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from chimera_train.chatml import ChatTokenizer
from chimera_train.generate import load_model
from chimera_train.model import Chimera


@torch.no_grad()
def window_nats(model: Chimera, ids: list[int], context: int, batch: int = 16) -> tuple[float, int]:
    """(summed nats, tokens scored) over whole windows. Token j of a window is scored for j > context/2:
    llama-perplexity scores the predictions made at positions context/2 … context-2."""
    rows = len(ids) // context
    if rows == 0:
        raise ValueError(f"the text has {len(ids)} tokens: less than one window of {context}")
    device = model.cos_te.device
    ids_bt = torch.tensor(ids[: rows * context], device=device).view(rows, context)
    first, nats, count = context // 2, 0.0, 0
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    for part in ids_bt.split(batch):
        with autocast:
            logits = model(part)[:, first:-1].float()
        target = part[:, first + 1 :]
        nats += float(F.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1), reduction="sum"))
        count += target.numel()
    return nats, count


def bits_per_byte(model: Chimera, tokenizer: ChatTokenizer, text: str, context: int = 512) -> dict[str, float]:
    text = unicodedata.normalize("NFC", text)
    ids, n_bytes = tokenizer.text(text), len(text.encode())
    nats, count = window_nats(model, ids, context)
    return {"bits_per_byte": nats / count / math.log(2) * len(ids) / n_bytes, "perplexity": math.exp(nats / count),
            "tokens": len(ids), "bytes": n_bytes, "context": context}


def evaluate(raw: dict[str, Any]) -> dict[str, dict[str, float]]:
    """`bpb: {run: …, files: [...], lines: 200, context: 512, qat: false}`, `tokenizer:`."""
    options = raw["bpb"]
    tokenizer, model = ChatTokenizer(raw["tokenizer"]), load_model(options["run"])
    if options.get("qat"):
        model.set_qat("q4_0", "q6_k")
    result = {}
    for file in options["files"]:
        lines = Path(file).read_text("utf-8").splitlines()[: options.get("lines", 200)]
        result[file] = bits_per_byte(model, tokenizer, "\n".join(lines) + "\n", options.get("context", 512))
        print(json.dumps({"file": file} | result[file]), flush=True)
    return result
