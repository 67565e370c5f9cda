"""Which splits `validate` reads from the names of files, folders and keys, and what it notes."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_stages import (
    SPLITS,
    append_raw,
    conversation,
    metrics,
    read,
    run,
    write_raw,
)
from gemma_finetune.utils.errors import UserError
from raw_formats import to_alpaca, to_chatml, to_sharegpt

TWO = [conversation(1), conversation(2)]


def write_table(name, rows):
    """A table as Parquet, or as the Arrow stream that `datasets` saves."""
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if name.endswith(".parquet"):
        pq.write_table(table, name)
        return
    with pa.ipc.new_stream(name, table.schema) as writer:
        writer.write_table(table)


def converted_splits():
    run("validate", "convert")
    rows = read("data/converted/conversations.jsonl")
    return [(row["source"]["file"], row["source"]["line"], row.get("split")) for row in rows]


def test_a_repository_of_hugging_face(params, capsys):
    rows = [to_chatml(row) for row in TWO]
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        write_table(f"data/raw/data/{name}.parquet", rows)
    for name in ("README.md", ".gitattributes", "dataset_infos.json"):
        Path("data/raw", name).write_text("{}")
    assert converted_splits() == [
        (f"data/raw/data/{name}.parquet", number, split)
        for name, split in (
            ("test-00000-of-00001", "test"),
            ("train-00000-of-00002", "train"),
            ("train-00001-of-00002", "train"),
        )
        for number in (1, 2)
    ]
    printed = capsys.readouterr().out
    left_out = "data/raw/.gitattributes, data/raw/README.md, data/raw/dataset_infos.json"
    assert printed.count(f"not data, left out: {left_out}\n") == 1
    assert "4  rows of files named for train" in printed
    assert "only" not in printed and "note" not in printed


def test_a_saved_dataset_dict(params):
    for split in ("train", "validation"):
        folder = f"data/raw/{split}"
        write_table(f"{folder}/data-00000-of-00001.arrow", [to_alpaca(TWO[0])])
        write_table(f"{folder}/cache-0a1b.arrow", [{"indices": 0}])
        Path(folder, "state.json").write_text("{}")
        Path(folder, "dataset_info.json").write_text("{}")
    Path("data/raw/dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    assert [split for _, _, split in converted_splits()] == ["train", "validation"]


def test_keys_of_a_json_file_name_splits(params, capsys):
    rows = [to_sharegpt(row) for row in TWO]
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.json").write_text(json.dumps({"train": rows, "test": rows[:1]}))
    assert converted_splits() == [
        ("data/raw/a.json#train", 1, "train"),
        ("data/raw/a.json#train", 2, "train"),
        ("data/raw/a.json#test", 1, "test"),
    ]
    assert "no row in" not in capsys.readouterr().out


def test_a_conflict_with_the_file_of_a_row_is_refused_by_name(params):
    write_raw(TWO, "data/raw/dev.jsonl")
    append_raw(json.dumps(to_sharegpt(conversation(3, "train"))), "data/raw/dev.jsonl")
    assert [split for _, _, split in converted_splits()] == ["validation", "validation"]
    (rejected,) = read("data/validated/rejected.jsonl")
    assert rejected["reason"] == "split_conflict" and rejected["line"] == 3


def test_a_name_of_two_splits_stops_the_run(params):
    write_raw(TWO, "data/raw/train_test.jsonl")
    with pytest.raises(UserError, match="train_test.jsonl: the name 'train_test.jsonl' says"):
        run("validate")
    assert not Path("data/validated").exists()


@pytest.mark.parametrize(
    ("name", "own"),
    [("data/train-00000-of-00001.jsonl", None), ("a.jsonl", "train"), ("train/b.jsonl", "train")],
)
def test_rows_that_all_name_train_are_split_as_rows_without_a_name(params, capsys, name, own):
    """As most datasets are, which have only the split `train`."""
    write_raw([conversation(n, own) for n in range(40)], f"data/raw/{name}")
    run("validate", "convert", "dedup", "format")
    assert metrics("validate")["all_named_train"] == 40
    assert "note: all rows name the split train" in capsys.readouterr().out
    found = formatted_ids()
    shutil.rmtree("data/raw")
    write_raw([conversation(n) for n in range(40)])
    run("validate", "convert", "dedup", "format")
    assert "all_named_train" not in metrics("validate")
    assert found == formatted_ids() and all(found)


def formatted_ids():
    return [{row["id"] for row in read(f"data/formatted/{split}.jsonl")} for split in SPLITS]


@pytest.mark.parametrize(
    ("other", "counts"), [("test", [20, 0, 1]), ("validation", [20, 1, 0]), (None, [20, 0, 0])]
)
def test_rows_named_train_stay_there_beside_others(params, other, counts):
    rows = [*(conversation(n, "train") for n in range(20)), conversation(20, other)]
    write_raw(rows)
    run("validate", "convert", "dedup", "format")
    counts = counts if other else [21, 0, 0]  # the hash of this row says train, too
    assert [len(ids) for ids in formatted_ids()] == counts


@pytest.mark.parametrize("name", ["testset.jsonl", "Testing/b.jsonl", "hold_out.jsonl", "validset"])
def test_a_name_that_almost_names_a_split_is_noted(params, capsys, name):
    write_raw(TWO, "data/raw/train.jsonl")
    name = name if "." in name else f"{name}/c.jsonl"
    write_raw([conversation(3)], f"data/raw/{name}")
    run("validate")
    assert (
        f"1 files say no split, as only whole words do (train, validation, test): data/raw/{name}"
        in (capsys.readouterr().out)
    )


@pytest.mark.parametrize(
    "name",
    ["latest.jsonl", "contest/a.jsonl", "test.jsonl", "validated.jsonl", "testimonials.csv.jsonl"],
)
def test_other_names_have_no_note(params, capsys, name):
    write_raw(TWO, "data/raw/train.jsonl")
    write_raw([conversation(3)], f"data/raw/{name}")
    run("validate")
    assert "note:" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "values", "noted"),
    [
        ("partition", ["train", "test"], True),
        ("subset", ["Dev", "test"], True),
        ("is_test", [False, True], True),
        ("partition", ["train", "north"], False),
        ("topic", ["a", "b"], False),
        ("metadata", [{"split": "test", "n": 1}, {"split": "Train"}], True),
        ("metadata", [{"split": "test"}, {"place": ["test"]}], False),
        ("in_test_set", [True, False], True),
        ("is_good", [True, False], False),
        ("is_valid", [True, True], False),
        ("test_passed", [True, False], False),
    ],
)
def test_a_key_that_seems_to_name_the_split_is_noted(params, capsys, key, values, noted):
    rows = [conversation(number) | {key: value} for number, value in enumerate(values)]
    write_raw(rows, to_row=lambda row: to_sharegpt(row) | {key: row[key]})
    run("validate")
    expected = f"note: `{key}` seems to name the split of 2 rows, but is ignored"
    assert (expected in capsys.readouterr().out) == noted


def test_shards_may_be_missing(params, capsys):
    write_raw(TWO, "data/raw/train-00001-of-00002.jsonl")
    run("validate")
    printed = capsys.readouterr().out
    assert "note: only 1 of 2 files data/raw/train-*-of-00002.jsonl are here" in printed
