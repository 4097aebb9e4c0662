"""Documents in, rows out: what is dropped, what is kept together, what is learnt from, and in which order."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from chimera_train.chatml import IM_END, IM_START, THINK, answer_mask
from chimera_train.data.clean import Filters, clean, reject
from chimera_train.data.dedupe import Contamination, Duplicates, WordHashes
from chimera_train.data.packing import IGNORE, Mixture, MixtureState, Part, pack, part_from_dict, to_batch
from chimera_train.data.prepare import prepare
from chimera_train.data.shards import SEPARATOR, ShardWriter, open_shard, thin, wait_for


def shard(folder: Path, name: str, documents: list[list[int]]) -> None:
    writer = ShardWriter(folder / f"{name}.bin")
    for ids in documents:
        writer.add(ids)
    writer.close({})


@pytest.fixture
def two_sources(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, low in (("a", 100), ("b", 500)):
        shard(tmp_path, name, [(low + rng.integers(0, 300, rng.integers(3, 90))).tolist() for _ in range(60)])
    return tmp_path


# ---- chat ---------------------------------------------------------------------------------------------------------


def test_dialogue_is_the_contract_format_and_typed_control_text_stays_text(tokenizer) -> None:
    ids = tokenizer.dialogue([{"role": "user", "content": "<|im_end|> नमस्ते"}, {"role": "assistant", "content": "हाँ"}])
    assert tokenizer.decode(ids) == ("<|im_start|>user\n<|im_end|> नमस्ते<|im_end|>\n<|im_start|>assistant\nहाँ<|im_end|>\n")
    assert ids.count(IM_START) == 2 and ids.count(IM_END) == 2


def test_prompt_is_a_prefix_of_the_dialogue(tokenizer) -> None:
    question = [{"role": "user", "content": "आम क्या है?"}]
    whole = tokenizer.dialogue([*question, {"role": "assistant", "content": "एक फल।"}])
    prompt = tokenizer.prompt(question)
    assert whole[: len(prompt)] == prompt


def test_thinking_is_wrapped_as_the_contract_says(tokenizer) -> None:
    ids = tokenizer.dialogue([{"role": "assistant", "content": "12", "thinking": "7 + 5"}])
    assert tokenizer.decode(ids) == "<|im_start|>assistant\n<think>\n7 + 5\n</think>\n\n12<|im_end|>\n"
    assert THINK in ids


def test_loss_falls_on_the_assistants_words_and_its_end_only(tokenizer) -> None:
    ids = tokenizer.dialogue([{"role": "system", "content": "assistant\n"}, {"role": "user", "content": "हेलो assistant\n"},
                              {"role": "assistant", "content": "एक"}, {"role": "user", "content": "?"},
                              {"role": "assistant", "content": "two"}])
    mask = answer_mask(np.array(ids), tokenizer.assistant_header)
    learnt = tokenizer.decode([i for i, m in zip(ids, mask, strict=True) if m])
    assert learnt == "एक<|im_end|>two<|im_end|>"


def test_every_text_comes_back_from_the_tokenizer(tokenizer) -> None:
    for text in ("ज़िंदगी क़लम पढ़ाई", "क्‍ष र‌्", "१२३ ४५ 67", "🙂👩‍👩‍👧 漢字 தமிழ்", "x = [i**2 for i in range(3)]\n\tpass", "।॥ …"):
        nfc = unicodedata.normalize("NFC", text)
        assert tokenizer.decode(tokenizer.text(nfc)) == nfc


# ---- cleaning -----------------------------------------------------------------------------------------------------


def test_clean_composes_and_drops_controls_but_keeps_joiners() -> None:
    assert clean("\ufeffक\u093c  ख\r\n\r\n\r\n\r\nग\x00\u202e") == unicodedata.normalize("NFC", "क\u093c ख\n\nग")
    assert clean("र्\u200dय न्\u200cह") == "र्\u200dय न्\u200cह"
    assert clean("def f():\n    return 1\n", code=True) == "def f():\n    return 1\n"


def test_filters_name_their_reason() -> None:
    hashes, f = WordHashes(), Filters()
    prose = "एक समय की बात है कि जंगल में एक शेर रहता था और उसके पास बहुत से जानवर आते थे।"
    loop = "वह गया और आया " * 50
    cases = {"short": "छोटा", "script": "this is an English sentence in a Hindi source, quite long", "repetitive": loop}
    assert reject(prose, hashes.of(prose), "hi", f) is None
    for reason, text in cases.items():
        assert reject(text, hashes.of(text), "hi", f) == reason


def test_near_duplicates_are_seen_and_different_texts_are_not() -> None:
    rng = np.random.default_rng(3)
    vocabulary = [f"w{i}" for i in range(5000)]
    documents = [" ".join(rng.choice(vocabulary, 200)) for _ in range(40)]
    hashes, seen = WordHashes(), Duplicates()
    assert not any(seen.seen_nearly(hashes.of(d)) for d in documents)
    near = documents[7].split()
    near[100] = "changed"
    assert seen.seen_nearly(hashes.of(" ".join(near)))
    far = documents[7].split()
    far[::4] = ["other"] * 50
    assert not seen.seen_nearly(hashes.of(" ".join(far)))


def test_evaluation_text_is_cut_out_of_documents(tmp_path: Path) -> None:
    question = "how many apples does anna have if she buys seven and then gives three to her brother"
    (tmp_path / "eval.jsonl").write_text(json.dumps({"q": {"text": question}}) + "\n", "utf-8")
    hashes = WordHashes()
    guard = Contamination([tmp_path], hashes)
    text = f"Something before.\nQ: {question.upper()}!\nSomething after."
    assert guard.cut(text, hashes.of(text)) == "Something before.\nSomething after."
    harmless = "How many apples does Anna have?"
    assert guard.cut(harmless, hashes.of(harmless)) == harmless


# ---- shards and packing -------------------------------------------------------------------------------------------


def test_a_shard_comes_back_as_written(tmp_path: Path) -> None:
    shard(tmp_path, "s", [[5, 6], [7], [65535]])
    s = open_shard(tmp_path, "s")
    assert s.tokens.tolist() == [SEPARATOR, 5, 6, SEPARATOR, 7, SEPARATOR, 65535, SEPARATOR]
    assert [s.tokens[a:b].tolist() for a, b in zip(s.starts, s.stops, strict=True)] == [[0, 5, 6], [0, 7], [0, 65535]]


def test_token_ids_beyond_uint16_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uint16"):
        shard(tmp_path, "s", [[65536]])


def test_a_truncated_shard_is_refused(tmp_path: Path) -> None:
    shard(tmp_path, "s", [[5, 6], [7]])
    path = tmp_path / "s.bin"
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(ValueError, match="its description says"):
        open_shard(tmp_path, "s")


def test_a_thinned_shard_keeps_every_nth_document_and_all_held_out_ones(tmp_path: Path) -> None:
    documents = [[100 + i] * 3 for i in range(9)]
    shard(tmp_path / "all", "a", documents)
    shard(tmp_path / "all", "a.val", documents)
    thin({"thin": {"from": str(tmp_path / "all"), "out": str(tmp_path / "some"), "every": 4}})
    kept = open_shard(tmp_path / "some", "a")
    assert [int(kept.tokens[s + 1]) for s in kept.starts] == [100, 104, 108]
    assert open_shard(tmp_path / "some", "a.val").starts.size == 9


def test_waiting_for_a_shard_ends_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="ghost"):
        wait_for(tmp_path, ["ghost"], 0)


def test_packing_keeps_every_piece_within_rows_and_wastes_little() -> None:
    lengths = np.random.default_rng(1).integers(1, 65, 500)
    rows = pack(lengths, 65)
    assert sorted(i for row in rows for i in row) == list(range(500))
    assert all(lengths[row].sum() <= 65 for row in rows)
    assert len(rows) * 65 < 1.05 * lengths.sum() + 65


def test_rows_hold_whole_documents_and_each_epoch_all_of_them(two_sources: Path) -> None:
    mixture = Mixture(two_sources, [Part("a")], 127, seed=5)
    source, shard_a = mixture.sources["a"], open_shard(two_sources, "a")
    for epoch in range(2):
        seen = []
        for i in range(len(source.plans)):
            tokens, number, learn = source.row(epoch * len(source.plans) + i)
            for d in range(number[learn > 0].max() + 1):
                seen.append(tuple(tokens[(number == d) & (learn > 0)]))
        want = [tuple(shard_a.tokens[a:b]) for a, b in zip(shard_a.starts, shard_a.stops, strict=True)]
        assert sorted(seen) == sorted(want)


def test_a_tuning_row_begins_as_a_conversation_does(tmp_path: Path, tokenizer) -> None:
    turns = [{"role": "user", "content": "2 + 3 = ?"}, {"role": "assistant", "content": "5"}]
    shard(tmp_path, "chat", [tokenizer.dialogue(turns)] * 5)
    learn = lambda tokens: answer_mask(tokens, tokenizer.assistant_header)  # noqa: E731
    batch = Mixture(tmp_path, [Part("chat")], 63, seed=1, learn=learn).batch(0.0, 1)
    for number in range(batch.seq_bt.max() + 1):
        assert batch.ids_bt[0][batch.seq_bt[0] == number][0] == IM_START
    learnt = batch.target_bt[batch.target_bt != IGNORE].tolist()
    assert tokenizer.decode(learnt) == "5<|im_end|>" * (len(learnt) // 2) and learnt


def test_targets_are_the_next_tokens_and_padding_is_ignored(two_sources: Path) -> None:
    source = Mixture(two_sources, [Part("a")], 127, seed=5).sources["a"]
    row = source.row(len(source.plans) - 1)
    batch = to_batch(row[None])
    real = row[2, 1:] > 0
    assert (batch.target_bt[0][real] == row[0, 1:][real]).all()
    assert (batch.target_bt[0][~real] == IGNORE).all() and batch.n_targets == real.sum()


def test_weights_set_the_shares_and_stages_open_late(two_sources: Path) -> None:
    mixture = Mixture(two_sources, [Part("a", 3.0), part_from_dict("b", {"weight": 1, "from": 0.5})], 63, seed=1)
    early = [mixture.draw(0.2)[0] for _ in range(100)]
    late = [mixture.draw(0.7)[0] for _ in range(400)]
    assert early.count("b") == 0 and abs(late.count("b") - 100) <= 2


def test_epochs_become_weights_and_a_plan(two_sources: Path) -> None:
    parts = [part_from_dict("a", {"epochs": 2}), part_from_dict("b", {"epochs": 0.5})]
    mixture = Mixture(two_sources, parts, 63, seed=1)
    n = {k: s.n_tokens for k, s in mixture.shards.items()}
    assert mixture.planned_tokens() == 2 * n["a"] + 0.5 * n["b"]
    drawn = [mixture.draw(0.5)[0] for _ in range(1000)]
    assert abs(drawn.count("a") / 1000 - 2 * n["a"] / mixture.planned_tokens()) < 0.01


def test_ranks_together_read_what_one_alone_reads(two_sources: Path) -> None:
    parts = [Part("a"), Part("b", 2.0)]
    alone, left, right = (Mixture(two_sources, parts, 63, seed=9) for _ in range(3))
    for _ in range(20):
        whole = alone.batch(0.5, 4).ids_bt
        halves = [left.batch(0.5, 2, 0, 2).ids_bt, right.batch(0.5, 2, 1, 2).ids_bt]
        assert np.array_equal(whole, np.concatenate(halves))


def test_a_mixture_goes_on_exactly_where_its_state_stands(two_sources: Path) -> None:
    parts = [Part("a"), Part("b", 2.0)]
    one = Mixture(two_sources, parts, 63, seed=9)
    for _ in range(7):
        one.batch(0.3, 3)
    saved = MixtureState(**json.loads(json.dumps(one.state.__dict__)))
    two = Mixture(two_sources, parts, 63, seed=9, state=saved)
    for length in (63, 63, 127, 127):
        one.set_length(length), two.set_length(length)
        assert np.array_equal(one.batch(0.9, 3).ids_bt, two.batch(0.9, 3).ids_bt)


# ---- prepare ------------------------------------------------------------------------------------------------------


def test_prepare_refuses_an_unknown_option_and_a_wrong_hash(tmp_path: Path, tokenizer) -> None:
    from conftest import FIXTURES, TINY

    base = {"tokenizer": str(TINY / "tokenizer.json"), "out": str(tmp_path), "corpus": str(FIXTURES)}
    with pytest.raises(ValueError, match=r"unknown option.*wieght"):
        prepare(base | {"sources": [{"name": "hi", "file": "hi.jsonl", "wieght": 3}]})
    with pytest.raises(ValueError, match="sha256"):
        prepare(base | {"sources": [{"name": "hi", "file": "hi.jsonl", "sha256": "00"}]})


def test_prepare_reports_what_it_left_out(tmp_path: Path) -> None:
    from conftest import FIXTURES, TINY

    raw = tmp_path / "raw.jsonl"
    lines = (FIXTURES / "hi.jsonl").read_text("utf-8").splitlines()
    raw.write_text("\n".join([*lines, lines[0], json.dumps({"text": "छोटा"})]) + "\n", "utf-8")
    (report,) = prepare({"tokenizer": str(TINY / "tokenizer.json"), "out": str(tmp_path / "out"), "corpus": str(tmp_path),
                         "sources": [{"name": "hi", "file": "raw.jsonl", "language": "hi", "licence": "Apache-2.0"}]})
    assert report["documents"] == len(lines) and report["licence"] == "Apache-2.0"
    assert report["left_out"] == {"read": len(lines) + 2, "duplicate": 1, "short": 1}
    saved = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))
    assert saved["tokens"] == report["tokens"]
