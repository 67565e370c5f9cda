"""Markup of other models' chat templates is told from texts about it by its place."""

import json

import pytest

from gemma_finetune.data.markup import find_markup
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.validation import check


@pytest.mark.parametrize("text, piece", [
    ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|im_start|>user"),
    ("Hi<|im_end|><|im_start|>assistant\nHello", "<|im_start|>assistant"),
    ("Hello<|im_end|>", "<|im_end|>"), ("Hello</s>", "</s>"), ("Hello </s>\n", "</s>"),
    ("Hello<|eot_id|>", "<|eot_id|>"), ("Hello<|endoftext|>", "<|endoftext|>"),
    ("Hello<｜end▁of▁sentence｜>", "<｜end▁of▁sentence｜>"), ("Hello<|return|>", "<|return|>"),
    ("<s>[INST] Hi [/INST]", "[INST]"), ("[INST] Hi [/INST] Hello", "[INST]"),
    ("Hi [/INST]", "[/INST]"),
    ("<|user|>\nHi", "<|user|>"), ("Hi\n<|assistant|>\n", "<|assistant|>"),
    ("<|begin_of_text|>Hi", "<|begin_of_text|>"), ("<|turn>user\nHi", "<|turn>user"),
    ("a <|start_header_id|>user<|end_header_id|> b", "<|start_header_id|>user<|end_header_id|>"),
    ("<|channel|>analysis<|message|>a", "<|channel|>analysis"), ("<s>Hello</s>", "</s>"),
])  # fmt: skip
def test_markup_where_a_template_has_it(text, piece):
    assert find_markup(text) == piece


@pytest.mark.parametrize("text", [
    "The token <|im_start|> begins a turn.", "Llama ends a text with </s>, GPT with <|endoftext|>.",
    "It ends with `</s>`", "```\n<|im_start|>user\nHi<|im_end|>\n```", "`<|user|>` begins a turn.",
    "New: <s>old</s>", "<s>a</s> and <s>b</s>", "a <| b |> c", "Use [INST] and [/INST] around it.",
    "x[i] <s", "| a |\n|---|\n| b |",
])  # fmt: skip
def test_a_text_about_markup_stays(text):
    assert find_markup(text) is None


def test_a_question_may_end_with_what_it_asks_about():
    assert find_markup("What is <|endoftext|>", is_question=True) is None
    assert find_markup("Hi<|endoftext|>", is_question=True) == "<|endoftext|>"


def test_a_row_with_markup_is_refused_by_turn():
    row = {"prompt": "Hi", "completion": "Hello</s>"}
    with pytest.raises(Rejection, match="turn 2 holds '</s>' of another .* template") as rejection:
        check(json.dumps(row).encode(), "auto", [])
    assert rejection.value.reason == "foreign_markup"


def test_long_texts_take_linear_time():
    for part in ("\n", "<", "<|", "</s>", " <s>", "[INST]", "<|user|", "`", "```", "<|end|> "):
        find_markup(part * 100_000 + "<|")
