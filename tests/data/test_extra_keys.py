"""Keys that no format knows: refused if they change the meaning, otherwise counted."""

from collections import Counter

import pytest

from gemma_finetune.data import schemas
from gemma_finetune.data.extra_keys import MOST, OTHERS, check_extra_keys, keep_most_common
from gemma_finetune.data.rejection import Rejection

HUMAN, GPT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


def check(human=(), gpt=(), **row):
    row = {"messages": [HUMAN | dict(human), GPT | dict(gpt)], **row}
    return check_extra_keys(schemas.read(row, "chatml"))


def test_metadata_is_named():
    ignored = check(id=7, topic="x", gpt={"name": "Bot"}, human={"name": "Ada"})
    assert ignored == {"id", "topic", "turn.name"}
    alpaca = schemas.read({"instruction": "a", "output": "b", "text": "whole"}, "alpaca")
    assert check_extra_keys(alpaca) == {"text"}
    im_text = schemas.read({"text": "<|im_start|>", "meta": {"a": 1}}, "chatml")
    assert check_extra_keys(im_text) == {"meta"}


def test_keys_of_text_parts_are_named():
    parts = [{"type": "text", "text": "Hi", "annotations": [1], "cache": None}]
    assert check(human={"content": parts}) == {"part.annotations"}


def test_keys_that_hold_nothing_are_not_counted():
    nothing = {"tool_calls": None, "reasoning_content": ""}
    assert check(tools=[], images=None, note="", gpt=nothing) == set()


@pytest.mark.parametrize(
    "changes, reason, where",
    [
        ({"tools": [{"type": "function"}]}, "tool_call", "has `tools`"),
        ({"gpt": {"tool_calls": [{"id": "1"}]}}, "tool_call", "turn 2 has `tool_calls`"),
        ({"gpt": {"function_call": {"name": "f"}}}, "tool_call", "turn 2"),
        ({"images": ["cat.png"]}, "non_text_part", "has `images`"),
        ({"image": "cat.png"}, "non_text_part", "has `image`"),
        ({"human": {"images": ["cat.png"]}}, "non_text_part", "turn 1"),
        ({"human": {"image_url": "cat.png"}}, "non_text_part", "turn 1"),
        ({"gpt": {"reasoning_content": "Well ..."}}, "reasoning", "turn 2"),
        ({"gpt": {"value": "Other"}}, "ambiguous", "turn 2 has `content`"),
        ({"gpt": {"from": "gpt"}}, "ambiguous", "turn 2 has `role`"),
        ({"system": "A", "system_prompt": "B"}, "ambiguous", "has `system_prompt`"),
        ({"conversations": [{"from": "human", "value": "Hi"}]}, "ambiguous", "has `conversations`"),
        ({"gpt": {"weight": 0}}, "weight", r"turn 2 \(assistant\) has `weight` 0"),
        ({"gpt": {"weight": 0.5}}, "weight", "turn 2"),
        ({"gpt": {"train": False}}, "weight", "turn 2"),
        ({"human": {"loss": True}}, "weight", "turn 1"),
    ],
)
def test_what_changes_the_meaning_is_refused_by_name(changes, reason, where):
    with pytest.raises(Rejection, match=where) as rejection:
        check(**changes)
    assert rejection.value.reason == reason


def test_weights_that_say_what_is_done_anyway_are_taken():
    human = {"train": False, "weight": 0}
    gpt = {"train": True, "weight": 1.0, "loss": True}
    assert check(human=human, gpt=gpt) == {"turn.train", "turn.weight", "turn.loss"}


def test_a_name_can_be_printed_whatever_it_is():
    assert check(**{"\x1b[2J": 1, "k" * 5000: 2}) == {ascii("\x1b[2J"), "k" * 60}


def test_of_many_names_the_most_common_are_kept_and_all_are_counted():
    counter = Counter({f"k{n}": n + 1 for n in range(1000)})
    kept = keep_most_common(keep_most_common(counter.copy()) + counter)
    assert len(kept) == MOST and kept.total() == 2 * counter.total() and kept["k999"] == 2000
    assert kept[OTHERS] > 0
