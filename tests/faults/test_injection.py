"""Prompt injection into training: from a raw row of any format to the batch, content never becomes
a control id.

The tokenizer has every control piece of Gemma 3's vocabulary as a piece that SentencePiece takes
whole wherever it stands in a text, which is the worst case.
"""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sentencepiece.sentencepiece_model_pb2 import ModelProto

from gemma_finetune.config import CONTROL_PIECES, load_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.formatter import format_lines
from gemma_finetune.data.repair import REPAIRS
from gemma_finetune.data.shared_text import (
    SharedText,
)
from gemma_finetune.data.validation import check_rows, convert_lines
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.training.data_pipeline import Batches, pack
from gemma_finetune.training.examples import tokenize_lines

pytestmark = pytest.mark.slow

PIECES = [*CONTROL_PIECES, *(f"<unused{n}>" for n in range(99))]
LENGTH = 2048


@pytest.fixture(scope="module")
def vocabulary(tokenizer_path, tmp_path_factory):
    """(path, ids of control pieces) of the tokenizer."""
    model = ModelProto()
    model.ParseFromString(tokenizer_path.read_bytes())
    known = {piece.piece for piece in model.pieces}
    for piece in PIECES:
        if piece not in known:
            model.pieces.add(piece=piece, score=0.0, type=ModelProto.SentencePiece.USER_DEFINED)
    path = tmp_path_factory.mktemp("vocabulary") / "tokenizer.model"
    path.write_bytes(model.SerializeToString())
    SharedText(20, np.zeros(0, np.uint32)).save(path.with_name("shared_text.npz"))
    return path, {n for n, piece in enumerate(model.pieces) if piece.piece in PIECES}


@pytest.fixture
def config(write_params):
    write_params({})
    return load_section("data", DataConfig)


piece = st.sampled_from(PIECES)
halves = piece.flatmap(
    lambda p: st.integers(1, len(p) - 1).flatmap(lambda n: st.sampled_from([p[:n], p[n:]]))
)
words = st.sampled_from(
    ["Hi", " ", "\n", "model\n", "user\n", "\u200b", "\u00ad", "<", ">", "\\u003c", "&lt;", ""]
)
text = st.lists(words | halves | piece | st.text(max_size=3), max_size=6).map("".join) | st.just(
    "Hello"
)
harmless = st.lists(words | halves, max_size=6).map(lambda parts: "Say " + "".join(parts) + ".")
content = harmless | text
parts = st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": content}), min_size=1, max_size=3
)
extra = st.dictionaries(
    st.sampled_from(["name", "tools", "id", "tool_calls", "topic", "input"]), content, max_size=2
)
sharegpt = st.builds(
    lambda q, a, s, more: (
        more | {"conversations": [{"from": "human", "value": q}, {"from": "gpt", "value": a}]} | s
    ),
    content,
    content,
    st.fixed_dictionaries({}, optional={"system": content}),
    extra,
)
alpaca = st.builds(
    lambda i, x, o, h: {"instruction": i, "input": x, "output": o, "history": h},
    content,
    content,
    content,
    st.lists(st.tuples(content, content).map(list), max_size=2),
)
chatml = st.builds(
    lambda q, a, s: {
        "messages": [*s, {"role": "user", "content": q}, {"role": "assistant", "content": a}]
    },
    content | parts,
    content | parts,
    st.lists(content.map(lambda t: {"role": "system", "content": t}), max_size=1),
)
plain = st.builds(
    lambda q, a: {
        "text": f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n"
    },
    content,
    content,
)


def batch_of(row, config, vocabulary):
    """(ids of the batch, turns) of a raw row; None if it was rejected."""
    path, _ = vocabulary
    checked = check_rows([("raw.jsonl", 1, json.dumps(row).encode())], "auto", REPAIRS)
    lines = convert_lines(checked.records.splitlines()).splitlines()
    if not lines:
        return None
    formatted = format_lines(
        lines, config, str(path), str(path.with_name("shared_text.npz")), LENGTH
    )
    placed = [("train.jsonl:1", line) for line in formatted.lines]
    packed = pack(tokenize_lines(placed, str(path), LENGTH), LENGTH)
    inputs, _, _ = Batches(packed, batch_size=1)[0]
    real = inputs["token_ids"][inputs["segment_ids"] > 0]
    return real.tolist(), len(json.loads(lines[0])["conversations"])


@settings(
    derandomize=True,
    deadline=None,
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sharegpt | alpaca | chatml | plain)
@example(
    {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "<end_of"},
                    {"type": "text", "text": "_turn>"},
                ],
            },
            {"role": "assistant", "content": "x"},
        ]
    }
)
def test_no_control_id_comes_from_content(config, vocabulary, row):
    made = batch_of(row, config, vocabulary)
    if made is None:
        return
    ids, turns = made
    tokenizer = GemmaTokenizer(vocabulary[0])
    assert Counter(i for i in ids if i in vocabulary[1]) == {
        tokenizer.bos: 1,
        tokenizer.start_of_turn: turns,
        tokenizer.end_of_turn: turns,
    }


@pytest.mark.parametrize("place", ["question", "answer", "system"])
def test_every_control_piece_is_refused_in_every_place(config, vocabulary, place):
    for piece in PIECES:
        texts = {"question": "Hi", "answer": "Hello", "system": "Be brief."} | {
            place: f"a {piece} b"
        }
        turns = [
            {"from": "human", "value": texts["question"]},
            {"from": "gpt", "value": texts["answer"]},
        ]
        assert (
            batch_of({"conversations": turns, "system": texts["system"]}, config, vocabulary)
            is None
        ), piece


def test_rows_that_only_look_like_it_are_trained_on(config, vocabulary):
    """Else the tests above would pass for a pipeline that refuses everything."""
    row = {
        "instruction": "What is <end_of turn>?",
        "input": "",
        "output": "No <start-of-turn>model\nat all: <unused>.",
    }
    ids, turns = batch_of(row, config, vocabulary)
    assert turns == 2 and len(ids) > 20
