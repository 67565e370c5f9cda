"""The four scripts on files: what goes in comes out or is named, twice the same bytes, and nothing
half-written.
"""

import gzip
import importlib
import json
import shutil
from pathlib import Path

import pytest

from gemma_finetune.data import converter
from gemma_finetune.data.converter import canonical
from gemma_finetune.utils.cli import UserError

STAGES = ("validate", "convert", "dedup", "format")
NAMES = "Ada Ben Cleo Dan Eva Finn Gus Hana Ivo Jana".split()


def conversation(n, split=None):
    question, answer = (
        f"What is the number of {NAMES[n % 10]} in list {n}?",
        f"{NAMES[n % 7]} has the number {n * 7}.",
    )
    return canonical([("human", question), ("gpt", answer)], split, {})


def write_raw(rows, name="data/raw/a.jsonl"):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def read(name):
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


@pytest.fixture
def params(write_params, tokenizer_path):
    """Parameters in a folder with the tokenizer; the changes are made by calling it again."""

    def write(changes):
        path = write_params({"data.max_rejected_fraction": 0.5, **changes})
        (path.parent / "models/base").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tokenizer_path, path.parent / "models/base/tokenizer.model")

    write({})
    return write


def run(*stages):
    for stage in stages or STAGES:
        importlib.import_module(stage).main()


def test_every_row_is_somewhere(params, capsys):
    rows = [conversation(n) for n in range(60)]
    write_raw([converter.to_sharegpt(row) for row in rows[:20]] + [{"bad": 1}])
    write_raw([converter.to_chatml(row) for row in rows[10:40]], "data/raw/b.jsonl")
    Path("data/raw/c.json.gz").write_bytes(
        gzip.compress(json.dumps([converter.to_alpaca(r) for r in rows[40:]]).encode())
    )
    run()
    metrics = json.loads(Path("metrics/data.json").read_text())
    assert metrics["rows"] == {"raw": 71, "validate": 70, "convert": 70, "dedup": 60, "format": 60}
    assert metrics["leakage"] == {
        "validation_in_train": 0,
        "test_in_train": 0,
        "test_in_validation": 0,
    }
    assert [(row["file"], row["line"]) for row in read("data/validated/rejected.jsonl")] == [
        ("data/raw/a.jsonl", 21)
    ]
    assert len(read("data/deduped/removed.jsonl")) == 10
    formatted = [
        row["id"]
        for split in ("train", "validation", "test")
        for row in read(f"data/formatted/{split}.jsonl")
    ]
    assert sorted(formatted) == sorted(row["id"] for row in rows)
    assert "1  reason: unknown_format" in capsys.readouterr().out


def outputs():
    return {
        path: path.read_bytes()
        for folder in ("data", "metrics")
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def test_twice_the_same_bytes(params):
    write_raw([converter.to_sharegpt(conversation(n // 2)) for n in range(100)])
    run()
    first = outputs()
    run()
    assert outputs() == first and len(first) == 17


def split_of_rows():
    return {
        row["id"]: split
        for split in ("train", "validation", "test")
        for row in read(f"data/formatted/{split}.jsonl")
    }


def test_old_rows_keep_their_split_when_rows_are_added(params):
    old = [converter.to_sharegpt(conversation(n)) for n in range(100)]
    write_raw(old)
    run()
    before = split_of_rows()
    write_raw(
        [converter.to_sharegpt(conversation(n)) for n in range(1000, 1100)], "data/raw/0.jsonl"
    )
    run()
    after = split_of_rows()
    assert len(after) == 200 and {row: after[row] for row in before} == before
    assert set(before.values()) == {"train", "validation", "test"}


def test_old_rows_that_stay_keep_their_split_among_longer_twins(params):
    texts = [" ".join(f"w{n}x{k}" for k in range(60)) for n in range(60)]
    old = [canonical([("human", text), ("gpt", "Yes.")], None, {}) for text in texts]
    longer = [canonical([("human", text), ("gpt", "Yes, so.")], None, {}) for text in texts[:30]]
    params({"train.sequence_length": 8192})
    write_raw([converter.to_sharegpt(row) for row in old])
    run()
    before = split_of_rows()
    write_raw(
        [converter.to_sharegpt(row) for row in longer], "data/raw/0.jsonl"
    )  # read before the old ones
    run()
    after = split_of_rows()
    assert set(after) == {row["id"] for row in longer + old[30:]}
    assert {row["id"]: before[row["id"]] for row in old[30:]} == {
        row["id"]: after[row["id"]] for row in old[30:]
    }


def test_rows_that_name_their_split_keep_it(params):
    splits = ["train", "validation", "test"] * 10
    write_raw([converter.to_chatml(conversation(n, split)) for n, split in enumerate(splits)])
    run()
    assert split_of_rows() == {conversation(n)["id"]: split for n, split in enumerate(splits)}


def test_too_many_rejections_stop_the_run_and_leave_the_rejected_rows_to_read(params, capsys):
    write_raw(
        [{"bad": n} for n in range(6)] + [converter.to_sharegpt(conversation(n)) for n in range(4)]
    )
    with pytest.raises(
        UserError, match=r"6 of 10 rows rejected \(60.0%\)[\s\S]*a.jsonl:1: unknown_format"
    ) as error:
        run("validate")
    assert str(error.value).count("unknown_format") == 5
    assert "rejected.jsonl: mend them" in str(error.value)
    assert [row["line"] for row in read("data/validated/rejected.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert not Path("data/validated/records.jsonl").exists()
    assert json.loads(Path("metrics/validate.json").read_text())["reasons"] == {"unknown_format": 6}
    assert "6  reason: unknown_format" in capsys.readouterr().out
    with pytest.raises(UserError, match="dvc repro validate"):
        run("convert")


def test_no_usable_row_stops_the_run(params):
    params({"data.max_rejected_fraction": 1.0})
    write_raw([{"bad": 1}])
    with pytest.raises(UserError, match="no row of data.raw can be used"):
        run("validate")


def test_files_without_a_row_are_named(params, capsys):
    write_raw([converter.to_sharegpt(conversation(1))])
    write_raw([], "data/raw/b.jsonl")
    run("validate")
    metrics = json.loads(Path("metrics/validate.json").read_text())
    assert metrics["files"] == 2 and metrics["empty_files"] == ["data/raw/b.jsonl"]
    assert "no row in data/raw/b.jsonl" in capsys.readouterr().out


def test_files_without_a_row_stop_the_run(params):
    write_raw([])
    with pytest.raises(UserError, match="hold no row$"):
        run("validate")


def test_overlong_rows_are_dropped_by_name_or_stop_the_run(params):
    long = canonical([("human", "light " * 300), ("gpt", "on")], "train", {})
    write_raw([converter.to_sharegpt(row) for row in [conversation(1, "train"), long]])
    run()
    (name,) = read("data/formatted/overlong.jsonl")
    assert name["source"]["line"] == 2 and name["tokens"] > 256
    assert (
        len(read("data/formatted/train.jsonl"))
        == json.loads(Path("metrics/data.json").read_text())["rows"]["format"]
        == 1
    )
    params({"data.overlong": "fail"})
    with pytest.raises(UserError, match="a.jsonl:2: .* tokens"):
        run("format")
    assert len(read("data/formatted/train.jsonl")) == 1


def test_a_leak_stops_the_run(params):
    write_raw(
        [
            converter.to_sharegpt(conversation(1, "train")),
            converter.to_sharegpt(conversation(2, "test")),
        ]
    )
    run("validate", "convert", "dedup")
    kept = read("data/deduped/kept.jsonl")
    twin = kept[0] | {"split": "test"}  # as if dedup had missed it
    Path("data/deduped/kept.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in [*kept, twin])
    )
    with pytest.raises(
        UserError,
        match=r"1 pairs of near-twins[\s\S]*a.jsonl:1 \(test\) and data/raw/a.jsonl:1 \(train\)",
    ):
        run("format")
    assert not Path("data/formatted").exists()


def test_all_rows_may_go_to_training(params):
    params({"data.validation_fraction": 0.0, "data.test_fraction": 0.0})
    write_raw([converter.to_sharegpt(conversation(n)) for n in range(5)])
    run()
    assert len(read("data/formatted/train.jsonl")) == 5 and read("data/formatted/test.jsonl") == []
    assert json.loads(Path("metrics/data.json").read_text())["nearest_training_row"] == {}


def test_nothing_to_train_on_stops_the_run(params):
    write_raw([converter.to_sharegpt(conversation(1, "test"))])
    with pytest.raises(UserError, match="no row is left to train on"):
        run()


def test_a_missing_input_names_its_stage(params):
    with pytest.raises(UserError, match="dvc repro validate"):
        run("convert")
