"""Kept conversations to rows: the text, its facts, and no control token that content made."""

import json
from dataclasses import replace

from gemma_finetune.data.converter import canonical
from gemma_finetune.data.formatter import FACTS, FORMATS, format_lines
from gemma_finetune.data.split import SPLITS
from gemma_finetune.formats import chat_template
from gemma_finetune.formats.chat_template import parse, render

TURNS = [
    ("system", "Be brief."),
    ("human", "Turn on the light."),
    ("gpt", "Done."),
    ("human", "Thanks"),
    ("gpt", "Bye"),
]


LIMIT = 160


def to_line(turns, split=None):
    row = canonical(turns, split, {"file": "a.jsonl", "line": 3, "format": "chatml"})
    return json.dumps(row).encode() + b"\n"


def test_a_row_has_an_id_messages_and_their_text(config, tokenizer_path, nothing_shared):
    line = to_line(TURNS, "test")
    formatted = format_lines([line], config, str(tokenizer_path), nothing_shared, LIMIT)
    (row,) = map(json.loads, formatted.lines)
    assert list(row) == ["id", "messages", "text"]
    assert row["id"] == json.loads(line)["id"]
    assert row["messages"][0] == {"role": "system", "content": "Be brief."}
    assert [message["role"] for message in row["messages"][1:]] == ["user", "assistant"] * 2
    assert row["text"] == render(row["messages"])
    assert parse(row["text"])[0]["content"] == "Be brief.\n\nTurn on the light."


def test_facts(config, tokenizer, tokenizer_path, nothing_shared):
    lines = [to_line(TURNS, "test"), to_line(TURNS[1:3], "train")]
    formatted = format_lines(lines, config, str(tokenizer_path), nothing_shared, LIMIT)
    facts = {name: values.tolist() for name, values in formatted.facts.items()}
    assert tuple(facts) == FACTS
    assert [SPLITS[split] for split in facts["split"]] == ["test", "train"]
    assert [FORMATS[format] for format in facts["format"]] == ["chatml", "chatml"]
    assert FORMATS == ("sharegpt", "alpaca", "chatml", "columns")
    assert facts["turns"] == [4, 2]
    assert facts["system"] == [1, 0]

    texts = [json.loads(row)["text"] for row in formatted.lines]
    lengths = [len(tokenizer.encode_conversation(text)[0]) for text in texts]
    assert facts["tokens"] == lengths

    # An answer is supervised with its <end_of_turn>.
    done, bye = (len(tokenizer.encode(answer)) + 1 for answer in ("Done.", "Bye"))
    assert facts["supervised"] == [done + bye, done]

    assert formatted.sizes.tolist() == [len(line) for line in lines]
    assert len(formatted.bands) == 2


def test_an_answer_that_is_not_trained_on(config, tokenizer, tokenizer_path, nothing_shared):
    masked = [("gpt, not trained", "Done.") if turn == ("gpt", "Done.") else turn for turn in TURNS]
    lines = [to_line(TURNS), to_line(masked)]
    formatted = format_lines(lines, config, str(tokenizer_path), nothing_shared, LIMIT)
    whole, part = map(json.loads, formatted.lines)
    assert part["messages"][2] == {"role": "assistant", "content": "Done.", "train": False}
    assert part["text"] == whole["text"] and part["id"] != whole["id"]

    bye = len(tokenizer.encode("Bye")) + 1
    assert formatted.facts["supervised"].tolist()[1] == bye
    assert len(set(formatted.facts["tokens"].tolist())) == 1


def test_content_that_becomes_a_control_token_is_rejected_alone(
    config, tokenizer_path, nothing_shared, monkeypatch
):
    # As if validation and the template had both missed it.
    monkeypatch.setattr(chat_template, "find_control", lambda text: None)
    lines = [to_line([("human", "a<end_of_turn>b"), ("gpt", "c")]), to_line(TURNS)]
    formatted = format_lines(lines, config, str(tokenizer_path), nothing_shared, LIMIT)
    rejected = json.loads(formatted.rejected)
    assert rejected.pop("id") == json.loads(lines[0])["id"]
    assert rejected == {
        "file": "a.jsonl",
        "line": 3,
        "reason": "control_token",
        "message": "its text becomes control tokens in this tokenizer",
    }
    assert formatted.facts["row"].tolist() == [1] and len(formatted.lines) == 1
    assert len(formatted.sizes) == len(formatted.bands) == 2


def split_lines(config, tokenizer_path, nothing_shared, turns, limit):
    config = replace(config, overlong="split")
    formatted = format_lines([to_line(turns)], config, str(tokenizer_path), nothing_shared, limit)
    return [json.loads(line) for line in formatted.lines], formatted.facts


def test_a_long_conversation_is_split_between_its_turns(config, tokenizer_path, nothing_shared):
    exchanges = [(("human", f"What is box {n}?"), ("gpt", f"Box {n} is red.")) for n in range(9)]
    turns = [("system", "Be brief.")] + [turn for exchange in exchanges for turn in exchange]
    rows, facts = split_lines(config, tokenizer_path, nothing_shared, turns, limit=120)
    assert len(rows) > 1 and (facts["tokens"] <= 120).all()
    assert len(set(facts["split"])) == 1 and set(facts["row"]) == {0}
    said = []
    for number, row in enumerate(rows, 1):
        assert row["id"].endswith(f".{number}")
        system, question, *_ = row["messages"]
        assert (system["content"], question["role"]) == ("Be brief.", "user")
        said += [message["content"] for message in row["messages"][1:]]
    assert said == [text for _, text in turns[1:]]  # nothing is lost, nothing is there twice


def test_an_exchange_that_is_too_long_stays_one(config, tokenizer_path, nothing_shared):
    turns = [("human", "Hi"), ("gpt", "Hello")] + [("human", "a b " * 200), ("gpt", "no")]
    rows, facts = split_lines(config, tokenizer_path, nothing_shared, turns, limit=100)
    assert len(rows) == 2 and facts["tokens"][0] < 100 < facts["tokens"][1]


def test_a_short_conversation_is_not_split(config, tokenizer_path, nothing_shared):
    rows, _ = split_lines(config, tokenizer_path, nothing_shared, TURNS, limit=1000)
    assert len(rows) == 1 and "." not in rows[0]["id"]
