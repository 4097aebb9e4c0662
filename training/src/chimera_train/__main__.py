"""`python -m chimera_train <command> --config recipes/x.yaml [--set train.minutes=5 …]`"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import yaml

from chimera_train.config import load_yaml

COMMANDS = ("tokenizer", "dialogues", "prepare", "thin", "pretrain", "sft", "export", "bpb", "sample", "statement")


def override(raw: dict[str, Any], assignment: str) -> None:
    """`a.b=value`, the value read as YAML."""
    path, _, value = assignment.partition("=")
    *parents, last = path.split(".")
    for key in parents:
        raw = raw.setdefault(key, {})
    raw[last] = yaml.safe_load(value)


def corpus_of(raw: dict[str, Any]) -> Path:
    found = raw.get("corpus") or os.environ.get("CHIMERA_CORPUS")
    if not found:
        raise SystemExit("where is the corpus? give --corpus or set CHIMERA_CORPUS")
    return Path(found)


def train_tokenizer(raw: dict[str, Any]) -> Any:
    from chimera_train import tokenizer
    from chimera_train.export import CONTRACT

    contract = tokenizer.Contract.load(CONTRACT / "special_tokens.json")
    print(tokenizer.run(corpus_of(raw), raw, contract, Path(raw.get("out", "runs/tokenizer"))))


def build_dialogues(raw: dict[str, Any]) -> Any:
    from chimera_train import dialogues

    counts = dialogues.build(corpus_of(raw), Path(raw.get("own", "data")), Path(raw.get("out", "runs/dialogues")))
    for name, count in counts.items():
        print(f"{count:8d}  {name}")


def write_statement(raw: dict[str, Any]) -> Any:
    """`statement: {run: …}`: licences by share of what the run read, and every source, as Markdown."""
    from chimera_train import data_statement

    tokens = data_statement.tokens_read(Path(raw["statement"]["run"]))
    print(data_statement.markdown(data_statement.read_sources(corpus_of(raw)), tokens))


def command(name: str, raw: dict[str, Any]) -> Any:
    """Imports late: `--help` needs no torch."""
    if name == "tokenizer":
        run = train_tokenizer
    elif name == "dialogues":
        run = build_dialogues
    elif name == "statement":
        run = write_statement
    elif name == "prepare":
        from chimera_train.data.prepare import prepare as run
    elif name == "thin":
        from chimera_train.data.shards import thin as run
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
