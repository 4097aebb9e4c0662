"""Small models on one thread: on a shared two-core machine more threads only wait for each other."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import pytest
import torch

from chimera_train.chatml import ChatTokenizer

FIXTURES = Path(__file__).parent / "fixtures"
TINY = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "tiny"


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def tokenizer() -> ChatTokenizer:
    return ChatTokenizer(TINY / "tokenizer.json")
