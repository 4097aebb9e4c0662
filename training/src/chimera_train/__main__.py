"""`python -m chimera_train <command> --config recipes/x.yaml [--set train.minutes=5 …]`"""

from __future__ import annotations

import argparse
from typing import Any

import yaml

from chimera_train.config import load_yaml

COMMANDS = ("prepare", "tokenizer", "pretrain", "sft", "export", "bpb", "sample")


def override(raw: dict[str, Any], assignment: str) -> None:
    """`a.b=value`, the value read as YAML."""
    path, _, value = assignment.partition("=")
    *parents, last = path.split(".")
    for key in parents:
        raw = raw.setdefault(key, {})
    raw[last] = yaml.safe_load(value)


def command(name: str, raw: dict[str, Any]) -> Any:
    if name == "prepare":
        from chimera_train.data.prepare import prepare as run
    elif name == "tokenizer":
        from chimera_train.tokenizer import train as run
    elif name == "pretrain":
        from chimera_train.train import pretrain as run
    elif name == "sft":
        from chimera_train.sft import sft as run
    elif name == "export":
        from chimera_train.export import export as run
    elif name == "bpb":
        from chimera_train.eval_bpb import evaluate as run
    else:
        from chimera_train.generate import sample as run
    return run(raw)


def main() -> None:
    parser = argparse.ArgumentParser(prog="chimera_train", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--config", help="a recipe (YAML)")
    parser.add_argument("--corpus", help="folder of the raw corpus (or CHIMERA_CORPUS)")
    parser.add_argument("--minutes", type=float, help="wall clock for the whole command")
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", help="change the recipe")
    args = parser.parse_args()
    raw = load_yaml(args.config) if args.config else {}
    if args.corpus:
        raw["corpus"] = args.corpus
    if args.minutes is not None:
        override(raw, f"train.minutes={args.minutes}")
    for assignment in args.set:
        override(raw, assignment)
    command(args.command, raw)


if __name__ == "__main__":
    main()
