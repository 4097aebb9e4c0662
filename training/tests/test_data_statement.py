"""Who wrote the text and under what terms: read from the corpus' tables, weighed by what was trained on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chimera_train.data_statement import file_licences, licence_class, markdown, read_sources, shares, tokens_read

TABLE = (
    "file\tsource\torigin\tlicence\tdocuments\traw_MB\n"
    "pretrain/hi-modern\tnews\tsomeone/news\tnot stated\t10\t3.0\n"
    "pretrain/hi-modern\twiki\tsomeone/wiki\tCC BY-SA 4.0\t10\t1.0\n"
)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    (tmp_path / "SOURCES-hi.tsv").write_text(TABLE, "utf-8")
    return tmp_path


@pytest.mark.parametrize(
    ("licence", "label"),
    [
        ("MIT / CC BY-NC 4.0", "non-commercial"),
        ("CC BY-SA 3.0 (Wikipedia text; repository itself MIT)", "share-alike"),
        ("GPL-3.0 (README)", "GPL"),
        ("not stated", "not stated"),
        ("Apache-2.0", "attribution or permissive"),
        ("CC0, written for Chimera", "public domain or made by program"),
    ],
)
def test_the_strictest_word_decides(licence: str, label: str) -> None:
    assert licence_class(licence) == label


def test_a_files_tokens_are_split_over_its_sources_by_size(corpus: Path) -> None:
    assert shares(read_sources(corpus), {"hi-modern": 400}) == {"not stated": 0.75, "share-alike": 0.25}


def test_licences_of_a_file_by_source(corpus: Path) -> None:
    assert file_licences(corpus, "pretrain/hi-modern.jsonl.zst") == {"news": "not stated", "wiki": "CC BY-SA 4.0"}
    assert file_licences(corpus, "pretrain/other.jsonl.zst") == {}


def test_the_statement_names_every_source(corpus: Path) -> None:
    text = markdown(read_sources(corpus), {"hi-modern": 400})
    assert "| pretrain/hi-modern | wiki | someone/wiki | CC BY-SA 4.0 | 1.0 |" in text
    assert "| not stated | 75.0% |" in text


def test_what_a_run_read_is_its_passes_times_the_shard(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps({"shards": {"hi-modern": {"tokens": 200}}}))
    log = tmp_path / "metrics.jsonl"
    log.write_text(json.dumps({"step": 1, "loss": 2.0}) + "\n")
    with pytest.raises(ValueError, match="not finished"):
        tokens_read(tmp_path)
    log.write_text(json.dumps({"event": "done", "epochs": {"hi-modern": 1.5}}) + "\n")
    assert tokens_read(tmp_path) == {"hi-modern": 300}
