"""What the data stages lose on the way: named, counted, and held against one limit."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import format
from data_stages import LONG, SPLITS, append_raw, conversation, metrics, read, run, write_raw
from gemma_finetune.data.converter import canonical
from gemma_finetune.data.tool_rows import to_json
from gemma_finetune.utils.errors import UserError
from raw_formats import to_sharegpt


def test_overlong_rows_are_dropped_by_name_or_stop_the_run(params):
    nothing_held_out = {"data.validation_fraction": 0.0, "data.test_fraction": 0.0}
    params(nothing_held_out)
    write_raw([conversation(1, "train"), LONG])
    run()
    (overlong,) = read("data/formatted/overlong.jsonl")
    assert list(overlong) == ["id", "source", "tokens"]
    assert overlong["id"] == LONG["id"]
    assert overlong["source"]["line"] == 2
    assert overlong["tokens"] > 256
    assert len(read("data/formatted/train.jsonl")) == 1
    assert metrics("data")["rows"]["format"] == metrics("data")["overlong"] == 1
    with np.load("data/formatted/facts.npz", allow_pickle=False) as facts:
        assert len(facts["tokens"]) == 1

    params(nothing_held_out | {"data.overlong": "fail"})
    with pytest.raises(UserError, match="a.jsonl:2: .* tokens"):
        run("format")
    assert len(read("data/formatted/train.jsonl")) == 1


def test_only_overlong_rows_stop_the_run(params):
    write_raw([LONG])
    params({"data.max_lost_fraction": 1.0})
    with pytest.raises(UserError, match="left to train on; see .* data.overlong"):
        run()
    assert not Path("data/formatted").exists()


def test_too_many_overlong_rows_stop_the_run_and_the_message_says_which_length_keeps_them(params):
    params({"data.max_lost_fraction": 0.1})
    exchange = [("human", "light " * 80), ("gpt", "on")]
    write_raw([conversation(1, "train"), canonical(exchange * 2, "train", {})])
    message = r"1 of 2 rows are lost \(50.0%: 1 over train.sequence_length = 160\)"
    with pytest.raises(UserError, match=message) as error:
        run()
    assert "a.jsonl:2: 515 tokens" in str(error.value)
    assert "528 keeps 95 % of the rows that are left, 528 keeps 99 %" in str(error.value)
    assert "set data.overlong to split" in str(error.value)
    assert sorted(os.listdir("data/formatted")) == ["overlong.jsonl", "rejected.jsonl"]


def test_one_exchange_with_functions_is_not_told_to_be_split(tmp_path, config):
    """It has more than two turns, but no place between an answer and the next question."""
    call = {"name": "f", "arguments": {}}
    response = {"name": "f", "response": {}}
    turns = [("human", "Hi"), ("function_call", to_json([call]))]
    turns += [("observation", to_json([response])), ("gpt", "Hello " * 99)]
    source = {"file": "a.jsonl", "line": 1}
    facts = {"row": np.array([0]), "tokens": np.array([300])}
    for count, is_told in ((1, False), (2, True)):
        rows = [canonical(turns * count, None, source, [{"name": "f"}])]
        overlong = format.list_overlong(tmp_path, facts, rows.__getitem__, 160)
        lost = format.too_long_rows(overlong, facts, 160, config)
        assert ("set data.overlong to split" in lost.advice) == is_told


@pytest.mark.parametrize("longest, keep_all, advice", [
    ([300] * 4 + [800] * 2, False, "304 keeps 95 % of the rows that are left, 800 keeps 99 %"),
    ([100] * 4 + [800] * 2, False, "800 keeps 99 % of the rows that are left"),
    ([300, 800], True, "800 keeps all rows that are left"),
    ([100] * 200 + [200], False, "208 keeps all rows that are left"),
])  # fmt: skip
def test_only_lengths_over_the_present_one_are_advised(longest, keep_all, advice):
    tokens = np.array([60] * 94 + longest)
    assert format.lengths_that_keep(tokens, 160, keep_all) == advice


def test_pieces_of_one_row_are_one_example(config, capsys):
    config = replace(config, overlong="split")
    source = {"file": "a.jsonl", "line": 1}
    overlong = [{"source": source, "tokens": n, "exchanges": 1} for n in (300, 310, 300)]
    facts = {"row": np.zeros(3, int), "tokens": np.array([300, 310, 300])}
    lost = format.too_long_rows(overlong, facts, 160, config)
    assert lost.examples() == ["a.jsonl:1: 310 tokens"]


def test_rows_of_one_exchange_are_not_told_to_be_split(params):
    params({"data.max_lost_fraction": 0.1})
    long = canonical([("human", "Tell me."), ("gpt", "word " * 1000)], "train", {})
    write_raw([conversation(1, "train"), long])
    with pytest.raises(UserError, match="1 of 2 rows are lost .*over train") as error:
        run()
    assert "data.overlong" not in str(error.value)


def test_too_many_near_duplicates_stop_the_run_and_leave_them_to_read(params):
    params({"data.max_lost_fraction": 0.1})
    texts = [" ".join(f"w{n}x{k}" for k in range(60)) for n in range(5)]
    rows = [canonical([("human", text), ("gpt", "Yes.")], None, {}) for text in texts]
    write_raw(rows + [canonical([("human", f"{texts[0]} so"), ("gpt", "Yes.")], None, {})])
    message = r"1 of 6 rows are lost \(16.7%: 1 near-duplicates\)[\s\S]*a.jsonl:1 is like .*:6: 0.9"
    with pytest.raises(UserError, match=message):
        run()
    assert not Path("data/deduped/kept.jsonl").exists()
    assert len(read("data/deduped/removed.jsonl")) == 1


def near_twins(count, places):
    """Long conversations, of which those at `places` are near-duplicates of others."""
    texts = [" ".join(f"w{n}x{k}" for k in range(60)) for n in range(count)]
    texts += [f"{texts[n]} so" for n in places]
    return [canonical([("human", text), ("gpt", "Yes.")], "train", {}) for text in texts]


def write_lossy(bad=4, twins=4, long=4, good=28):
    """40 rows, of which 4 are rejected, 4 near-duplicates and 4 too long."""
    write_raw(near_twins(twins, range(twins)))
    for _ in range(bad):
        append_raw('{"bad": 1}')
    for n in range(long):
        row = canonical([("human", f"{n} light" * 300), ("gpt", f"on {n}")], "train", {})
        append_raw(json.dumps(to_sharegpt(row)))
    for n in range(good - twins):
        append_raw(json.dumps(to_sharegpt(conversation(n, "train"))))


@pytest.mark.parametrize(
    ("limit", "stage", "lost", "examples"),
    [
        (0.09, "validate", r"4 of 40 rows are lost \(10.0%: 4 rejected\)", 4),
        (0.1, "dedup", r"8 of 40 rows are lost \(20.0%: 4 rejected, 4 near-duplicates\)", 4),
        (
            0.2,
            "format",
            r"12 of 40 rows are lost \(30.0%: 4 rejected, 4 near-duplicates, 4 over train",
            6,
        ),
        (0.3, None, None, None),
    ],
)
def test_all_that_is_lost_is_held_against_one_limit(params, limit, stage, lost, examples):
    """No stage alone loses more than 0.1 of the rows."""
    params({"data.max_lost_fraction": limit, "train.sequence_length": 512})
    write_lossy()
    stages = ("validate", "convert", "dedup", "format")
    if stage is None:
        run(*stages)
        kept = [read(f"data/formatted/{split}.jsonl") for split in SPLITS]
        assert sum(map(len, kept)) == 28
        return
    for earlier in stages[: stages.index(stage)]:
        run(earlier)
    with pytest.raises(UserError, match=rf"^{lost}.*, over data.max_lost_fraction") as error:
        run(stage)
    first, *shown, advice = str(error.value).splitlines()
    assert len(shown) == examples and "a.jsonl:9: unknown_format: " in shown[0]
    assert ("a.jsonl:1 is like data/raw/a.jsonl:5: 0.9" in "".join(shown)) == (stage != "validate")
    assert ("a.jsonl:13: " in shown[-1] or "a.jsonl:16: " in shown[-1]) == (stage == "format")
    assert advice.startswith("Correct the rejected rows")
    assert advice.endswith("; or raise data.max_lost_fraction, if these rows may go")


def test_a_row_with_several_long_pieces_is_lost_once(params, capsys):
    params({"data.overlong": "split", "data.max_lost_fraction": 0.5})
    long = [("human", "light " * 300), ("gpt", "on")]
    short = [("human", "Hi"), ("gpt", "Hello")]
    write_raw([conversation(1, "train"), canonical(long + short + long, "train", {})])
    run()
    assert len(read("data/formatted/overlong.jsonl")) == 2
    assert "2 of 4 pieces of rows are over" in capsys.readouterr().out
    params({"data.overlong": "split", "data.max_lost_fraction": 0.4})
    with pytest.raises(UserError, match=r"1 of 2 rows are lost \(50.0%: 1 over train"):
        run("format")


@pytest.mark.parametrize("reader", ["dedup", "format"])
@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("metrics/validate.json", "validate"),
        ("metrics/dedup.json", "dedup"),
        ("data/validated/rejected.jsonl", "validate"),
    ],
)
def test_what_was_lost_before_is_read(params, reader, name, stage):
    write_raw([conversation(1, "train")])
    run("validate", "convert", "dedup")
    Path(name).unlink()
    if (reader, stage) == ("dedup", "dedup"):
        run(reader)  # it writes this file
        return
    with pytest.raises(UserError, match=f"{name} is missing: .*dvc repro {stage}`"):
        run(reader)
