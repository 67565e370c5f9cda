"""What `validate` makes of whole files: what stops it, and what it names."""

import json
from collections import Counter
from pathlib import Path

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
from raw_formats import to_alpaca, to_sharegpt
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
    assert str(error.value).endswith(
        "The first is data/raw/a.jsonl:1; all are in data/validated/rejected.jsonl"
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
    message = (
        r"data.columns names columns that no row has \(split: fodl\); correct the names: "
        "the rows have q, a, fold$"
    )
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


def test_rows_are_numbered_in_rejections(params):
    Path("data/raw").mkdir(parents=True)
    Path("data/raw/a.csv").write_text('instruction,output\n"a\n\nb",c\nd,\ne,f\n')
    Path("data/raw/b.json").write_text(json.dumps([to_alpaca(conversation(1)), {"bad": 1}]))
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
    write_raw([conversation(1), conversation(2)])
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
