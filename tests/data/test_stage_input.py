"""What `validate` makes of whole files: what stops it, what it names, and which splits it reads."""

import json
import shutil
from collections import Counter
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
from gemma_finetune.data.converter import to_messages
from gemma_finetune.formats.chat_template import render
from gemma_finetune.utils import parallel
from gemma_finetune.utils.errors import UserError
from raw_formats import to_alpaca, to_chatml, to_sharegpt
from row_files import TURNS
from validate import Examples


def test_too_many_rejections_stop_the_run_and_leave_the_rejected_rows_to_read(params, capsys):
    write_raw([])
    for _ in range(6):
        append_raw('{"bad": 1}')
    for n in range(4):
        append_raw(json.dumps(to_sharegpt(conversation(n))))

    message = r"6 of 10 rows are lost \(60.0%: 6 rejected\), [\s\S]*a.jsonl:1: unknown_format"
    with pytest.raises(UserError, match=message) as error:
        run("validate")
    assert str(error.value).count("unknown_format") == 5
    assert "(all are in data/validated/rejected.jsonl)" in str(error.value)
    assert [row["line"] for row in read("data/validated/rejected.jsonl")] == [1, 2, 3, 4, 5, 6]
    assert not Path("data/validated/records.jsonl").exists()
    assert metrics("validate")["reasons"] == {"unknown_format": 6}
    assert "6  reason: unknown_format" in capsys.readouterr().out
    with pytest.raises(UserError, match="dvc repro validate"):
        run("convert")


def test_one_fault_of_all_rows_is_told_once(params):
    write_raw([])
    for n in range(1923):
        append_raw(json.dumps({"prompt": f"Question {n}", "chosen": "Yes", "rejected": "No"}))

    message = (
        r"no row of data.raw can be used. All 1,923 rows have one fault: preference: "
        r"has no answer: its keys are prompt, chosen, rejected: "
        r"this looks like preference data \(DPO\)"
    )
    with pytest.raises(UserError, match=message) as error:
        run("validate")
    assert "The first is data/raw/a.jsonl:1; all are in data/validated/rejected.jsonl" in str(
        error.value
    )
    assert str(error.value).count("chosen") == 1
    assert "limit" not in str(error.value)


@pytest.mark.parametrize(
    "rows",
    [
        [{"text": f"Question {n}", "label": n % 2} for n in range(20)],
        [{"instruction": f"{n}", "output": "x", "status": ("discarded", "discarded ")[n % 2]}
         for n in range(20)],
        [{"messages": TURNS[: n % 3 + 1] + [{"role": "?", "content": "x"}]} for n in range(20)],
    ],
)  # fmt: skip
def test_a_fault_with_other_values_is_one_fault(params, rows):
    write_raw([])
    for row in rows:
        append_raw(json.dumps(row))
    with pytest.raises(UserError, match="All 20 rows have one fault: ") as error:
        run("validate")
    assert str(error.value).count("data/raw/a.jsonl:") == 1


def test_faults_of_two_keys_are_two(params):
    write_raw([])
    for key in ("loss_weight", "train") * 3:
        append_raw(json.dumps({"instruction": "a", "output": "b", key: 0}))
    with pytest.raises(UserError, match="no row of data.raw can be used. For example:"):
        run("validate")


@pytest.mark.parametrize("chunk", [1, 1000])
def test_each_reason_has_an_example(params, monkeypatch, chunk):
    monkeypatch.setattr(parallel, "CHUNK_ROWS", chunk)
    write_raw([])
    for row in ['{"bad": 1}'] * 8 + ['{"messages": []}'] * 8 + ["["]:
        append_raw(row)
    append_raw(json.dumps(to_sharegpt(conversation(1))))
    with pytest.raises(UserError, match="17 of 18 rows are lost") as error:
        run("validate")
    _, *shown, _ = str(error.value).splitlines()
    places = [line.split(":")[1] for line in shown]
    reasons = [line.split(": ")[1] for line in shown]
    assert places == ["1", "2", "3", "9", "17"]
    assert reasons == ["unknown_format"] * 3 + ["no_turns", "invalid_json"]


def test_more_reasons_than_examples_are_all_shown():
    examples = Examples()
    for number in range(9):
        examples.add(b'{"reason": "%d"}\n' % (number // 2) * 4, Counter([str(number // 2)]))
    shown = [int(row["reason"]) for row in examples.shown()]
    assert sorted(set(shown)) == [0, 1, 2, 3, 4] and len(shown) == 5
    for number in range(9, 19):
        examples.add(b'{"reason": "%d"}\n' % number, Counter([str(number)]))
    assert len(examples.shown()) == 15


def test_several_faults_of_all_rows_are_shown_without_the_advice_to_raise_the_limit(params):
    write_raw([])
    append_raw('{"bad": 1}')
    append_raw('{"prompt": "a", "completion": "b", "label": false}')
    with pytest.raises(UserError, match="no row of data.raw can be used. For example:") as error:
        run("validate")
    assert "a.jsonl:1: unknown_format" in str(error.value)
    assert "a.jsonl:2: preference" in str(error.value)
    assert "limit" not in str(error.value)


def test_named_columns_that_no_row_has_stop_the_run(params):
    params({"data.columns": {"user": "q", "assistant": "a", "split": "fodl"}})
    write_raw([])
    for n in range(3):
        append_raw(json.dumps({"q": f"Question {n}", "a": "Yes", "fold": "train"}))
    message = r"data.columns names columns that no row has \(split: fodl\)"
    with pytest.raises(UserError, match=message):
        run("validate")
    assert not Path("data/validated/records.jsonl").exists()


def test_masked_answers_reach_the_formatted_rows(params, capsys):
    write_raw([conversation(n, split) for n, split in enumerate(SPLITS)])
    turns = [turn for n in range(2) for turn in to_messages(conversation(n + 70))]
    turns[1]["weight"] = 0
    append_raw(json.dumps({"messages": turns, "split": "train"}))
    run("validate", "convert", "dedup", "format")
    assert metrics("validate")["with_untrained_answers"] == 1
    assert "1  with answers not trained on" in capsys.readouterr().out

    row = read("data/formatted/train.jsonl")[1]
    assert [message.get("train") for message in row["messages"]] == [None, False, None, None]
    assert row["text"] == render(row["messages"])


def test_line_breaks_and_dropped_reasoning_are_counted(params):
    params({"data.reasoning": "drop"})
    write_raw([])
    append_raw('{"prompt": "Two\\r\\nlines?", "completion": "Yes."}')
    append_raw('{"prompt": "Why?", "completion": "So.", "rationale": "Hm."}')
    run("validate", "convert")
    assert metrics("validate")["repairs"] == {"line_breaks": 1, "drop_reasoning": 1}
    assert metrics("validate")["formats"] == {"columns": 2}
    values = [turn["value"] for row in read("data/converted/conversations.jsonl")
              for turn in row["conversations"]]  # fmt: skip
    assert values == ["Two\nlines?", "Yes.", "Why?", "So."]


def test_no_usable_row_stops_the_run(params):
    params({"data.max_lost_fraction": 1.0})
    write_raw([])
    append_raw('{"bad": 1}')
    with pytest.raises(UserError, match="no row of data.raw can be used"):
        run("validate")


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


def test_rows_are_numbered_in_rejections(params):
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.csv").write_text('instruction,output\n"a\n\nb",c\nd,\ne,f\n')
    Path("data/raw/b.json").write_text(json.dumps([to_alpaca(TWO[0]), {"bad": 1}]))
    run("validate")
    rejected = read("data/validated/rejected.jsonl")
    assert [(row["file"], row["line"]) for row in rejected] == [
        ("data/raw/a.csv", 2),
        ("data/raw/b.json", 2),
    ]


def test_a_record_with_other_cells_is_one_rejected_row(params):
    params({"data.max_lost_fraction": 0.1})
    records = [f"question {n},answer {n}\n" for n in range(20)]
    Path("data/raw").mkdir(parents=True, exist_ok=True)
    Path("data/raw/a.csv").write_text("prompt,completion\n" + "".join(records) + "a,b,c\n")
    run("validate")
    assert metrics("validate")["reasons"] == {"misshapen": 1}
    assert metrics("validate")["accepted"] == 20
    (rejected,) = read("data/validated/rejected.jsonl")
    assert rejected["line"] == 21 and "has 3 cells, but the header has 2" in rejected["message"]


def test_data_that_is_not_there_stops_the_run_and_leaves_nothing(params):
    write_raw(TWO)
    Path("data/raw/b.jsonl.dvc").write_text("outs:\n- path: b.jsonl\n")
    with pytest.raises(UserError, match="b.jsonl is missing, but data/raw/b.jsonl.dvc tracks it"):
        run("validate")
    assert not Path("data/validated").exists()


def test_files_without_a_row_are_named(params, capsys):
    write_raw([conversation(1)])
    write_raw([], "data/raw/b.jsonl")
    run("validate")
    assert metrics("validate")["files"] == 2
    # A mapping: DVC plots lists in a registered file.
    assert metrics("validate")["empty_files"] == {"data/raw/b.jsonl": 0}
    assert "no row in data/raw/b.jsonl" in capsys.readouterr().out


def test_files_without_a_row_stop_the_run(params):
    write_raw([])
    with pytest.raises(UserError, match="hold no row$"):
        run("validate")
