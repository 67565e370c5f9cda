"""The data scripts on files: every row comes out or is named, and the bytes are always the same."""

import gzip
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import describe
from data_stages import (
    LONG,
    SPLITS,
    append_raw,
    conversation,
    files_of,
    metrics,
    read,
    run,
    split_of_rows,
    write_raw,
)
from gemma_finetune.data.converter import canonical
from gemma_finetune.data.formatter import FACTS
from gemma_finetune.data.roles import UNTRAINED
from gemma_finetune.formats.chat_template import render
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils import parallel
from gemma_finetune.utils.errors import UserError
from raw_formats import to_alpaca, to_chatml


def test_every_row_is_somewhere(params, capsys):
    rows = [conversation(n) for n in range(60)]
    write_raw(rows[:20])
    append_raw('{"bad": 1}')
    write_raw(rows[10:40], "data/raw/b.jsonl", to_chatml)
    packed = gzip.compress(json.dumps([to_alpaca(row) for row in rows[40:]]).encode())
    Path("data/raw/c.json.gz").write_bytes(packed)
    run()

    flow = {"raw": 71, "validate": 70, "convert": 70, "dedup": 60, "format": 60}
    assert metrics("data")["rows"] == flow
    (rejected,) = read("data/validated/rejected.jsonl")
    assert (rejected["file"], rejected["line"]) == ("data/raw/a.jsonl", 21)
    assert len(read("data/deduped/removed.jsonl")) == 10
    assert split_of_rows().keys() == {row["id"] for row in rows}
    printed = capsys.readouterr().out
    assert "1  reason: unknown_format" in printed
    assert "validation_in_train 0, test_in_train 0, test_in_validation 0" in printed


def test_twice_the_same_bytes(params):
    write_raw([conversation(n // 2) for n in range(100)])
    run()
    first = files_of("data", "metrics")
    run()
    assert files_of("data", "metrics") == first and len(first) == 22


def test_worker_processes_write_the_same_bytes(params, monkeypatch):
    write_raw([conversation(n // 2) for n in range(100)])
    run()
    first = files_of("data", "metrics")
    monkeypatch.setattr(parallel, "CHUNK_ROWS", 5)
    run()
    assert files_of("data", "metrics") == first


def test_a_rejected_row_at_the_end_changes_nothing_that_dedup_writes(params):
    """So a broken row that is added, or removed, trains nothing again."""
    write_raw([conversation(n) for n in range(20)])
    run("validate", "convert", "dedup")
    before, validated = files_of("data/deduped"), metrics("validate")
    append_raw('{"bad": 1}')
    run("validate", "convert", "dedup")
    assert files_of("data/deduped") == before
    assert validated["rejected"] == 0 and metrics("validate")["rejected"] == 1


def test_old_rows_keep_their_split_when_rows_are_added(params):
    write_raw([conversation(n) for n in range(100)])
    run()
    before = split_of_rows()
    write_raw([conversation(n) for n in range(1000, 1100)], "data/raw/0.jsonl")
    run()
    after = split_of_rows()
    assert len(after) == 200
    assert {row: after[row] for row in before} == before
    assert set(before.values()) == set(SPLITS)


def test_old_rows_that_stay_keep_their_split_among_longer_twins(params):
    params({"train.sequence_length": 8192})
    texts = [" ".join(f"w{n}x{k}" for k in range(60)) for n in range(60)]
    old = [canonical([("human", text), ("gpt", "Yes.")], None, {}) for text in texts]
    longer = [
        canonical([("human", f"{text} more"), ("gpt", "Yes.")], None, {}) for text in texts[:30]
    ]
    write_raw(old)
    run()
    before = split_of_rows()
    write_raw(longer, "data/raw/0.jsonl")  # read before the old ones
    run()
    after = split_of_rows()
    assert after.keys() == {row["id"] for row in longer + old[30:]}
    for row in old[30:]:
        assert after[row["id"]] == before[row["id"]]


def test_rows_that_name_their_split_keep_it(params):
    named = [conversation(n, split) for n, split in enumerate(SPLITS * 10)]
    write_raw(named, to_row=to_chatml)
    run()
    assert split_of_rows() == {row["id"]: row["split"] for row in named}


def test_formatted_rows_and_their_facts(params):
    write_raw([conversation(n, split) for n, split in enumerate(SPLITS)])
    run("validate", "convert", "dedup", "format")
    for split in SPLITS:
        (row,) = read(f"data/formatted/{split}.jsonl")
        assert list(row) == ["id", "messages", "text"]
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        assert row["text"] == render(row["messages"])
    assert read("data/formatted/overlong.jsonl") == []
    with np.load("data/formatted/facts.npz", allow_pickle=False) as facts:
        names = set(FACTS) - {"row", "answer"}
        assert set(facts.files) == names
        assert facts["split"].tolist() == [0, 1, 2]
        assert {facts[name].shape for name in names} == {(3,)}


@pytest.mark.parametrize("overlong", ["drop", "fail", "split"])
def test_an_automatic_sequence_length_is_that_of_the_rows(params, overlong):
    params({"train.sequence_length": "auto", "data.overlong": overlong})
    write_raw([conversation(n) for n in range(98)] + [LONG, ONE_LONGER])
    run("validate", "convert", "dedup", "format")
    lengths = json.loads(Path("data/formatted/lengths.json").read_text())
    kept_all = overlong == "fail"
    longest = max(row["tokens"] for row in read("data/formatted/overlong.jsonl") or [{"tokens": 0}])
    assert lengths["sequence_length"] == (1568 if kept_all else 928)
    assert (longest > 928) != kept_all
    assert 10 < lengths["longest_answer"] < 40


def test_lengths_say_the_sequence_length_of_ones_own_and_the_longest_test_answer(params):
    params({"train.sequence_length": 200})
    long_answer = canonical([("human", "Count."), ("gpt", "one two three " * 4)], "test", {})
    write_raw([conversation(1, "train"), long_answer, conversation(2, "test")])
    run("validate", "convert", "dedup", "format")
    lengths = json.loads(Path("data/formatted/lengths.json").read_text())
    (row,) = [row for row in read("data/formatted/test.jsonl") if "Count" in row["text"]]
    tokenizer = GemmaTokenizer("models/base/tokenizer.model")
    _, supervised = tokenizer.encode_conversation(row["text"])
    assert lengths["sequence_length"] == 200
    assert lengths["longest_answer"] == lengths["usual_answer"] == sum(supervised)


def test_one_answer_in_a_hundred_is_not_the_usual_one(params):
    params({})
    long_answer = canonical([("human", "Count."), ("gpt", "one two three " * 4)], "test", {})
    write_raw([*(conversation(n, "test") for n in range(99)), long_answer, conversation(99)])
    run("validate", "convert", "dedup", "format")
    lengths = json.loads(Path("data/formatted/lengths.json").read_text())
    assert 0 < lengths["usual_answer"] < lengths["longest_answer"] / 2


ONE_LONGER = canonical([("human", " ".join(["kitchen"] * 220)), ("gpt", "off")], "train", {})


def test_200_rows_with_one_instruction_all_stay(params):
    """Alpaca's way to ask for a label: they were 1 row after dedup."""
    instruction = " ".join(f"word{n}" for n in range(60)) + "."
    rows = []
    for n in range(200):
        question = f"{instruction}\n\nThe lid of box {n} came {('broken', 'fine')[n % 2]}."
        rows.append(canonical([("human", question), ("gpt", ("bad", "good")[n % 2])], None, {}))
    write_raw(rows)
    params({"train.sequence_length": 8192})
    run()
    assert metrics("dedup")["kept"] == 200


def test_a_leak_stops_the_run(params, capsys):
    write_raw([conversation(1, "train"), conversation(2, "test")])
    run("validate", "convert", "dedup")
    first, second = read("data/deduped/kept.jsonl")
    twin = first | {"split": "test"}  # as if dedup had missed it
    lines = [json.dumps(row) + "\n" for row in (first, second, twin)]
    Path("data/deduped/kept.jsonl").write_text("".join(lines))

    places = r"a.jsonl:1 \(test\) and data/raw/a.jsonl:1 \(train\): 1.00"
    with pytest.raises(UserError, match=rf"1 pairs of near-twins[\s\S]*{places}"):
        run("format")
    assert "test_in_train 1" in capsys.readouterr().out
    assert not Path("data/formatted").exists()


def test_nothing_to_train_on_stops_the_run(params):
    write_raw([conversation(1, "test"), conversation(2, "dev")])
    with pytest.raises(UserError, match="left to train on: all 2 are in validation or test"):
        run()


def test_all_rows_may_go_to_training(params):
    params({"data.validation_fraction": 0.0, "data.test_fraction": 0.0})
    write_raw([conversation(n) for n in range(5)])
    run()
    assert len(read("data/formatted/train.jsonl")) == 5
    assert read("data/formatted/test.jsonl") == []
    assert json.loads(Path("data/formatted/lengths.json").read_text())["longest_answer"] == 0
    assert metrics("data")["nearest_training_row"] == {}
    assert Path("metrics/data_nearest.csv").read_text() == "split,similarity,rows\n"


def test_one_row_is_enough(params):
    params({"data.validation_fraction": 0.0, "data.test_fraction": 0.0})
    write_raw([conversation(1, "train")])
    run()
    assert metrics("data")["splits"]["train"]["rows"] == 1


def test_description_of_the_data(params, capsys):
    write_raw([conversation(n, "train") for n in range(6)])
    held_out = [("human", "What is the number of Ada in list 0?"), ("gpt", "I do not know.")]
    other = [("system", "You are Ada."), ("human", "Good night"), ("gpt", "Sleep well")]
    rows = [canonical(held_out, "test", {}), canonical(other, "validation", {})]
    write_raw(rows, "data/raw/b.jsonl")
    run()

    data = metrics("data")
    assert set(data) == {"rows", "splits", "nearest_training_row", "overlong"}
    assert data["overlong"] == 0
    counts = {split: numbers["rows"] for split, numbers in data["splits"].items()}
    assert counts == {"train": 6, "validation": 1, "test": 1}
    assert data["splits"]["validation"]["system_texts"] == 1

    # 14 and 13 words are 12 and 11 shingles. They share the 7 of the question.
    nearest = data["nearest_training_row"]
    assert nearest["test"]["max"] == round(7 / (12 + 11 - 7), 4)
    assert nearest["validation"]["max"] == 0
    printed = capsys.readouterr().out
    assert (
        f"test: similarity to the nearest training row median {nearest['test']['max']}" in printed
    )
    for name in ("nearest", "rows", "tokens", "turns"):
        table = pd.read_csv(f"metrics/data_{name}.csv")
        assert table["rows"].sum() > 0


def test_a_sample_of_the_held_out_rows_is_compared(params, monkeypatch):
    write_raw([conversation(n, split) for n, split in enumerate(SPLITS * 10)])
    monkeypatch.setattr(describe, "SAMPLE", 7)
    run()
    table = pd.read_csv("metrics/data_nearest.csv")
    counts = table.groupby("split")["rows"].sum()
    assert counts["validation"] == 4 and counts["test"] == 3  # every third of 20


def test_a_missing_input_names_its_stage(params):
    with pytest.raises(UserError, match="dvc repro validate"):
        run("convert")
    write_raw([conversation(1, "train"), conversation(2, "test")])
    run()
    for name in ("train.jsonl", "overlong.jsonl", "facts.npz"):
        Path("data/formatted", name).unlink()
        with pytest.raises(UserError, match=f"{name} is missing: .*dvc repro format"):
            run("describe")


@pytest.mark.parametrize("name, content, stage", [
    ("data/formatted/test.jsonl", '{"id": 1}', "format"),
    ("data/formatted/test.jsonl", '{"id": "1", "mess', "format"),
    ("data/formatted/facts.npz", "x", "format"),
    ("metrics/validate.json", "[]", "validate"),
    ("metrics/dedup.json", "{}", "dedup"),
])  # fmt: skip
def test_a_damaged_input_names_its_stage(params, name, content, stage):
    write_raw([conversation(1, "train"), conversation(2, "test")])
    run()
    Path(name).write_text(content)
    before = files_of("metrics")
    with pytest.raises(UserError, match=f"not what the stage `{stage}` writes"):
        run("describe")
    assert files_of("metrics") == before


@pytest.mark.parametrize("last_alone", [False, True])
def test_a_conversation_is_in_the_split_of_the_one_that_it_grew_from(params, last_alone):
    params({"train.sequence_length": 4096, "data.test_fraction": 0.4})
    chosen = random.Random(0)
    words = [f"word{number}" for number in range(999)]
    rows, logs = [], []
    for _ in range(20):
        turns, log = [], []
        for _ in range(3):
            asked, said = (" ".join(chosen.sample(words, 9)) for _ in range(2))
            before = [(UNTRAINED if role == "gpt" else role, text) for role, text in turns]
            turns += [("human", asked), ("gpt", said)]
            shown = before + turns[-2:] if last_alone else turns
            log.append(canonical(shown, None, {}))
        rows += log
        logs.append([row["id"] for row in log])
    write_raw(rows[::-1])
    run("validate", "convert", "dedup", "format")
    splits = split_of_rows()
    found = [{splits[row] for row in log} for log in logs]
    assert all(len(names) == 1 for names in found)
    assert {"train", "test"} <= set().union(*found)
