"""The data scripts on files: every row comes out or is named, and the bytes are always the same."""

import gzip
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import describe
from gemma_finetune.data import converter, parallel
from gemma_finetune.data.converter import canonical
from gemma_finetune.data.formatter import FACTS
from gemma_finetune.formats.chat_template import render
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.cli import UserError

STAGES = ("validate", "convert", "dedup", "format", "describe")
SPLITS = ("train", "validation", "test")
NAMES = "Ada Ben Cleo Dan Eva Finn Gus Hana Ivo Jana".split()


def conversation(n, split=None):
    question = f"What is the number of {NAMES[n % 10]} in list {n}?"
    answer = f"{NAMES[n % 7]} has the number {n * 7}."
    return canonical([("human", question), ("gpt", answer)], split, {})


def write_raw(conversations, name="data/raw/a.jsonl", to_row=converter.to_sharegpt):
    rows = [json.dumps(to_row(conversation)) + "\n" for conversation in conversations]
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("".join(rows))


def append_raw(line, name="data/raw/a.jsonl"):
    with open(name, "a") as file:
        file.write(line + "\n")


def read(name):
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def metrics(name):
    return json.loads(Path(f"metrics/{name}.json").read_text())


@pytest.fixture
def params(write_params, tokenizer_path):
    """Parameters in a folder with the tokenizer. Call it again with changes."""

    def write(changes):
        limits = {"data.max_rejected_fraction": 0.5, "data.max_lost_fraction": 0.5}
        path = write_params(limits | changes)
        base = path.parent / "models" / "base"
        base.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tokenizer_path, base / "tokenizer.model")

    write({})
    return write


def run(*stages):
    for stage in stages or STAGES:
        importlib.import_module(stage).main()


def split_of_rows():
    splits = {}
    for split in SPLITS:
        for row in read(f"data/formatted/{split}.jsonl"):
            splits[row["id"]] = split
    return splits


def files_of(*folders):
    paths = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in paths}


def test_every_row_is_somewhere(params, capsys):
    rows = [conversation(n) for n in range(60)]
    write_raw(rows[:20])
    append_raw('{"bad": 1}')
    write_raw(rows[10:40], "data/raw/b.jsonl", converter.to_chatml)
    packed = gzip.compress(json.dumps([converter.to_alpaca(row) for row in rows[40:]]).encode())
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
    assert files_of("data", "metrics") == first and len(first) == 20


def test_worker_processes_write_the_same_bytes(params, monkeypatch):
    write_raw([conversation(n // 2) for n in range(100)])
    run()
    first = files_of("data", "metrics")
    monkeypatch.setattr(parallel, "CHUNK_ROWS", 5)
    run()
    assert files_of("data", "metrics") == first


def test_a_rejected_row_at_the_end_changes_no_input_of_format(params):
    """So a broken row that is added, or removed, renders and tokenizes nothing again."""
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
    write_raw(named, to_row=converter.to_chatml)
    run()
    assert split_of_rows() == {row["id"]: row["split"] for row in named}


def test_too_many_rejections_stop_the_run_and_leave_the_rejected_rows_to_read(params, capsys):
    write_raw([])
    for _ in range(6):
        append_raw('{"bad": 1}')
    for n in range(4):
        append_raw(json.dumps(converter.to_sharegpt(conversation(n))))

    message = r"6 of 10 rows rejected \(60.0%\)[\s\S]*a.jsonl:1: unknown_format"
    with pytest.raises(UserError, match=message) as error:
        run("validate")
    assert str(error.value).count("unknown_format") == 5
    assert "rejected.jsonl: fix them" in str(error.value)
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


def test_several_faults_of_all_rows_are_shown_without_the_advice_to_raise_the_limit(params):
    write_raw([])
    append_raw('{"bad": 1}')
    append_raw('{"prompt": "a", "completion": "b", "label": false}')
    with pytest.raises(UserError, match="no row of data.raw can be used. The first:") as error:
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
    turns = [turn for n in range(2) for turn in converter.to_messages(conversation(n + 70))]
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
    params({"data.max_rejected_fraction": 1.0})
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
    rows = [converter.to_chatml(row) for row in TWO]
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
        write_table(f"{folder}/data-00000-of-00001.arrow", [converter.to_alpaca(TWO[0])])
        write_table(f"{folder}/cache-0a1b.arrow", [{"indices": 0}])
        Path(folder, "state.json").write_text("{}")
        Path(folder, "dataset_info.json").write_text("{}")
    Path("data/raw/dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    assert [split for _, _, split in converted_splits()] == ["train", "validation"]


def test_keys_of_a_json_file_name_splits(params, capsys):
    rows = [converter.to_sharegpt(row) for row in TWO]
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
    append_raw(json.dumps(converter.to_sharegpt(conversation(3, "train"))), "data/raw/dev.jsonl")
    assert [split for _, _, split in converted_splits()] == ["validation", "validation"]
    (rejected,) = read("data/validated/rejected.jsonl")
    assert rejected["reason"] == "split_conflict" and rejected["line"] == 3


def test_a_name_of_two_splits_stops_the_run(params):
    write_raw(TWO, "data/raw/train_test.jsonl")
    with pytest.raises(UserError, match="train_test.jsonl: the name 'train_test.jsonl' says"):
        run("validate")
    assert not Path("data/validated").exists()


def test_training_files_alone_hold_nothing_out_and_shards_may_be_missing(params, capsys):
    write_raw(TWO, "data/raw/train-00001-of-00002.jsonl")
    run("validate")
    printed = capsys.readouterr().out
    assert "note: all rows are in files named for train" in printed
    assert "note: only 1 of 2 files data/raw/train-*-of-00002.jsonl are here" in printed


def test_rows_are_numbered_in_rejections(params):
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.csv").write_text('instruction,output\n"a\n\nb",c\nd,\ne,f\n')
    Path("data/raw/b.json").write_text(json.dumps([converter.to_alpaca(TWO[0]), {"bad": 1}]))
    run("validate")
    rejected = read("data/validated/rejected.jsonl")
    assert [(row["file"], row["line"]) for row in rejected] == [
        ("data/raw/a.csv", 2),
        ("data/raw/b.json", 2),
    ]


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
    assert lengths == {"sequence_length": 200, "longest_answer": sum(supervised)}


LONG = canonical([("human", " ".join(["light"] * 300)), ("gpt", "on")], "train", {})
ONE_LONGER = canonical([("human", " ".join(["kitchen"] * 220)), ("gpt", "off")], "train", {})


def test_overlong_rows_are_dropped_by_name_or_stop_the_run(params):
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

    params({"data.overlong": "fail"})
    with pytest.raises(UserError, match="a.jsonl:2: .* tokens"):
        run("format")
    assert len(read("data/formatted/train.jsonl")) == 1


def test_only_overlong_rows_stop_the_run(params):
    write_raw([LONG])
    params({"data.max_lost_fraction": 1.0})
    with pytest.raises(UserError, match="no row is left to train on"):
        run()
    assert not Path("data/formatted").exists()


def test_too_many_overlong_rows_stop_the_run_and_the_message_says_which_length_keeps_them(params):
    params({"data.max_lost_fraction": 0.1})
    write_raw([conversation(1, "train"), LONG])
    with pytest.raises(UserError, match=r"1 of 2 rows are over .* \(50.0%") as error:
        run()
    assert "a.jsonl:2: 918 tokens" in str(error.value)
    assert "928 keeps 95 % of the rows, 928 keeps 99 %" in str(error.value)


def test_too_many_near_duplicates_stop_the_run_and_leave_them_to_read(params):
    params({"data.max_lost_fraction": 0.1})
    texts = [" ".join(f"w{n}x{k}" for k in range(60)) for n in range(5)]
    rows = [canonical([("human", text), ("gpt", "Yes.")], None, {}) for text in texts]
    write_raw(rows + [canonical([("human", f"{texts[0]} so"), ("gpt", "Yes.")], None, {})])
    message = (
        r"1 of 6 conversations are near-duplicates \(16.7%\)[\s\S]*a.jsonl:1 is like .*:6: 0.9"
    )
    with pytest.raises(UserError, match=message):
        run()
    assert not Path("data/deduped/kept.jsonl").exists()
    assert len(read("data/deduped/removed.jsonl")) == 1


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
    write_raw([conversation(1, "test")])
    with pytest.raises(UserError, match="no row is left to train on"):
        run()


def test_all_rows_may_go_to_training(params):
    params({"data.validation_fraction": 0.0, "data.test_fraction": 0.0})
    write_raw([conversation(n) for n in range(5)])
    run()
    assert len(read("data/formatted/train.jsonl")) == 5
    assert read("data/formatted/test.jsonl") == []
    assert metrics("data")["nearest_training_row"] == {}
    assert Path("metrics/data_nearest.csv").read_text() == "split,similarity,rows\n"


def test_one_row_is_enough(params):
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
