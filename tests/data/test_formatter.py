"""Kept conversations to rows: the text, its length in tokens, and no control token that content
brought along.
"""

import json

import pytest

from gemma_finetune.config import load_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.converter import canonical
from gemma_finetune.data.formatter import FORMATS, format_lines
from gemma_finetune.data.split import SPLITS
from gemma_finetune.formats.chat_template import parse
from gemma_finetune.utils.cli import UserError

TURNS = [
    ("system", "Be brief."),
    ("human", "Turn on the light."),
    ("gpt", "Done."),
    ("human", "Thanks"),
    ("gpt", "Bye"),
]


@pytest.fixture
def config(write_params):
    write_params({})
    return load_section("data", DataConfig)


def line(turns, split=None):
    row = canonical(turns, split, {"file": "a.jsonl", "line": 3, "format": "chatml"})
    return json.dumps(row).encode()


def test_rows_and_facts(config, tokenizer, tokenizer_path):
    formatted = format_lines(
        [line(TURNS, "test"), line(TURNS[1:3], "train")], config, str(tokenizer_path), 256, ()
    )
    texts = [json.loads(row)["text"] for row in formatted.lines]
    assert parse(texts[0])[0] == {"role": "user", "content": "Be brief.\n\nTurn on the light."}
    assert [SPLITS[split] for split in formatted.facts["split"]] == ["test", "train"]
    assert [FORMATS[format] for format in formatted.facts["format"]] == ["chatml", "chatml"]
    assert formatted.facts["turns"].tolist() == [4, 2]
    assert formatted.facts["tokens"].tolist() == [
        len(tokenizer.encode_conversation(text)[0]) for text in texts
    ]
    answers = (
        len(tokenizer.encode("Done.")) + 1,
        len(tokenizer.encode("Bye")) + 1,
    )  # with <end_of_turn>
    assert formatted.facts["supervised"].tolist() == [sum(answers), answers[0]]
    assert len(formatted.bands) == 2


def test_content_that_becomes_a_control_token_is_named(config, tokenizer_path, monkeypatch):
    monkeypatch.setattr(
        "gemma_finetune.data.formatter.find_control", lambda text: None
    )  # as if validation missed it
    with pytest.raises(UserError, match="a.jsonl:3: its text becomes control tokens"):
        format_lines(
            [line([("human", "a<end_of_turn>b"), ("gpt", "c")])],
            config,
            str(tokenizer_path),
            256,
            (),
        )
