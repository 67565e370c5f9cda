"""Rows with functions in the stages: counted, told apart by calls and tools, formatted and cut."""

import json

import numpy as np
import orjson
import pytest

import data_stages
import format
from function_rows import (
    CALL,
    LLAMA_FACTORY,
    MOBILE_ACTIONS,
    OPENAI,
    SOURCE,
    TOOL,
    TURNS,
    changed,
    checked,
    conversation,
    function,
)
from gemma_finetune.data.converter import canonical, content_id
from gemma_finetune.data.dedup import features
from gemma_finetune.data.evidence import (
    evidence_of,
    evidence_similarity,
)
from gemma_finetune.data.formatter import count_tokens, format_lines, split_conversation
from gemma_finetune.data.repair import REPAIRS
from gemma_finetune.data.shared_text import (
    SharedText,
)
from gemma_finetune.data.validation import check_rows
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.errors import UserError


def test_rows_with_functions_are_counted_and_those_without_the_activation_too():
    rows = [("a", 1, orjson.dumps(OPENAI)), ("a", 2, orjson.dumps(MOBILE_ACTIONS))]
    counts = check_rows(rows, "auto", REPAIRS).counts["rows"]
    assert (counts["with_tools"], counts["without_activation"]) == (2, 1)


def other(change):
    return conversation(changed(change))


def test_calls_responses_and_tools_decide_the_id_and_with_it_the_split():
    row = conversation(OPENAI)
    ids = {row["id"]}
    ids.add(other(lambda row: function(row).update(arguments={"room": "attic"}))["id"])
    ids.add(other(lambda row: row["messages"][2].update(content="no"))["id"])
    ids.add(other(lambda row: row["tools"][0]["function"].update(description="x"))["id"])
    assert len(ids) == 4
    found = checked(OPENAI)
    assert content_id(found.turns, found.tools) != content_id(found.turns)


def test_twins_have_the_same_calls_and_the_same_tools(nothing_shared):
    shared = SharedText(20, np.zeros(0, np.uint32))
    row = conversation(OPENAI)
    more = {"type": "function", "function": {"name": "other"}}
    rows = [
        row,
        other(lambda row: function(row).update(arguments={"room": "attic", "level": 7})),
        other(lambda row: row["tools"].append(more)),
        conversation(LLAMA_FACTORY),
    ]
    first, call, tools, same = evidence_of(rows, shared)
    assert evidence_similarity(first, same) == 1
    assert evidence_similarity(first, call) < 0.8
    assert evidence_similarity(first, tools) == 0.5
    lines = [orjson.dumps(row) for row in rows]
    exact = features(lines, 0.8, nothing_shared).exact.tolist()
    assert len(set(exact)) == 3 and exact[0] == exact[3]


def test_a_base_without_the_pieces_refuses_rows_with_functions(
    config, tokenizer_path, nothing_shared
):
    line = orjson.dumps(conversation(OPENAI))
    with pytest.raises(UserError, match=r"a.jsonl:3: .* take function_gemma_instruct_270m"):
        format_lines([line], config, str(tokenizer_path), nothing_shared, 400)


def test_a_base_without_the_pieces_takes_them_for_text(config, tokenizer_path, nothing_shared):
    turns = [("human", "What is <escape>?"), ("gpt", "A <start_function_call>.")]
    line = orjson.dumps(canonical(turns, None, SOURCE))
    formatted = format_lines([line], config, str(tokenizer_path), nothing_shared, 400)
    assert json.loads(formatted.lines[0])["messages"][0]["content"] == "What is <escape>?"


@pytest.mark.parametrize("overlong", ["drop", "split"])
def test_function_gemma_rejects_a_plain_row_with_them_alone(
    params, function_tokenizer_path, overlong, monkeypatch, capsys
):
    changes = {"data.overlong": overlong, "data.validation_fraction": 0, "data.test_fraction": 0}
    params(changes | {"data.max_lost_fraction": 0.25})
    monkeypatch.setattr(format, "TOKENIZER", str(function_tokenizer_path))
    odd = canonical([("human", "Press <escape>"), ("gpt", "x")] * 2, "train", {})
    rows = [data_stages.conversation(n, "train") for n in range(3)]
    data_stages.write_raw([rows[0], odd, *rows[1:]])
    data_stages.run()
    assert len(data_stages.read("data/formatted/train.jsonl")) == 3
    (rejected,) = data_stages.read("data/formatted/rejected.jsonl")
    assert rejected["id"] == odd["id"] and rejected["reason"] == "control_token"
    shown = "data/raw/a.jsonl:2: control_token: content holds the control piece <escape>"
    assert shown in capsys.readouterr().out
    data = data_stages.metrics("data")
    assert data["rejected_by_base"] == 1 and data["rows"]["format"] == 3

    params(changes | {"data.max_lost_fraction": 0.2})
    lost = r"1 of 4 rows are lost \(25.0%: 1 with control tokens of this base\)"
    with pytest.raises(UserError, match=rf"{lost}[\s\S]*{shown}"):
        data_stages.run("format")


def test_an_automatic_sequence_length_leaves_rejected_rows_out(function_tokenizer_path):
    lines = [
        orjson.dumps(canonical([("human", text), ("gpt", "x")], None, SOURCE))
        for text in ("<escape>" * 99, "Hi")
    ]
    (tokens,) = count_tokens(lines, str(function_tokenizer_path))
    assert tokens < 30


def test_a_formatted_row_has_messages_tools_and_their_text(
    config, function_tokenizer_path, nothing_shared
):
    plain_row = canonical([("system", "Be brief."), ("human", "Hi"), ("gpt", "x")], None, SOURCE)
    lines = [orjson.dumps(conversation(MOBILE_ACTIONS)), orjson.dumps(plain_row)]
    formatted = format_lines(lines, config, str(function_tokenizer_path), nothing_shared, 999)
    row, second = map(json.loads, formatted.lines)
    assert row["tools"] == [{"type": "function", "function": TOOL}]
    assert row["messages"][2]["tool_calls"] == [{"type": "function", "function": CALL[0]}]
    assert row["text"].endswith(
        "<start_of_turn>user\nHall light<end_of_turn>\n<start_of_turn>model\n"
        "<start_function_call>call:set_light{level:1,room:<escape>hall<escape>}<end_function_call>"
        "<start_function_response>"
    )
    assert second["tools"] == []
    assert second["text"].startswith("<start_of_turn>developer\nBe brief.<end_of_turn>\n")


def test_a_long_conversation_is_cut_between_exchanges_never_at_a_call(function_tokenizer_path):
    tokenizer = GemmaTokenizer(function_tokenizer_path)
    row = conversation(OPENAI)
    row["conversations"] = row["conversations"] * 3
    pieces = split_conversation(row, 1, tokenizer)
    assert [piece["conversations"] for piece in pieces] == [TURNS] * 3
    assert all(piece["tools"] == [TOOL] for piece in pieces)
