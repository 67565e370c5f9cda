"""Keys that no format knows: refused if they change the meaning, otherwise counted."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data import schemas
from gemma_finetune.data.converter import to_turns
from gemma_finetune.data.extra_keys import MOST, OTHERS, check_extra_keys, keep_most_common
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.roles import UNTRAINED
from gemma_finetune.data.row_keys import prepare

HUMAN, GPT = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}


def check(human=(), gpt=(), **row):
    row = {"messages": [HUMAN | dict(human), GPT | dict(gpt)], **row}
    return check_extra_keys(schemas.read(prepare(row), "chatml"))


def test_metadata_is_named():
    ignored = check(id=7, topic="x", gpt={"name": "Bot"}, human={"name": "Ada"})
    assert ignored == {"id", "topic", "turn.name"}
    alpaca = schemas.read({"instruction": "a", "output": "b", "text": "whole: a b"}, "alpaca")
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
    "tools", [None, [], {}, "", "[]", "{}", " [] ", "null", [None], [{}], "\u200b"]
)
def test_tools_that_hold_nothing_are_none(tools):
    assert check(tools=tools, functions=tools, gpt={"tool_calls": tools}) == set()


def test_what_looks_like_a_flag_but_is_metadata_is_counted():
    metadata = {"loss": 0.43, "training": "in 2024", "label": "greeting", "reasoning": "off"}
    assert check(**metadata) == metadata.keys()


def test_a_mask_of_a_question_is_counted():
    assert check(human={"skip": False}) == {"turn.skip"}


def test_a_row_that_is_trained_on_may_say_so():
    said = {"weight": 1, "train": "true", "label": True, "Keep": True, "deleted": False,
            "status": "submitted", "is_correct": "yes", "training": "",
            "quality.responses.status": ["submitted", "discarded"], "delete": False}  # fmt: skip
    assert check(**said) == said.keys() - {"training"}


@pytest.mark.parametrize(
    "changes, reason, where",
    [
        ({"functions": [{"name": "f"}]}, "tool_call", "has `functions`"),
        ({"gpt": {"function_call": {"name": "f"}}}, "tool_call", "turn 2"),
        ({"images": ["cat.png"]}, "non_text_part", "has `images`"),
        ({"image": "cat.png"}, "non_text_part", "has `image`"),
        ({"human": {"images": ["cat.png"]}}, "non_text_part", "turn 1"),
        ({"human": {"image_url": "cat.png"}}, "non_text_part", "turn 1"),
        ({"gpt": {"reasoning_content": "Well ..."}}, "reasoning", "turn 2"),
        ({"gpt": {"Thinking": "Well ..."}}, "reasoning", "turn 2 has `Thinking`"),
        ({"Functions": [{"name": "f"}]}, "tool_call", "has `Functions`"),
        ({"gpt": {"functionCall": {"name": "f"}}}, "tool_call", "turn 2 has `functionCall`"),
        ({"Image": "cat.png"}, "non_text_part", "has `Image`"),
        ({"human": {"Attachments": ["cat.png"]}}, "non_text_part", "turn 1 has `Attachments`"),
        ({"Chosen": GPT}, "preference", "has `Chosen`"),
        ({"human": {"Content": "Other"}}, "ambiguous", "turn 1 has `Content`"),
        ({"instructions": "Be brief."}, "lost_text", "name it as `system` in data.columns"),
        ({"gpt": {"value": "Other"}}, "ambiguous", "turn 2 has `content`"),
        ({"gpt": {"from": "gpt"}}, "ambiguous", "turn 2 has `role`"),
        ({"system": "A", "system_prompt": "B"}, "ambiguous", "has `system_prompt`"),
        ({"conversations": [{"from": "human", "value": "Ho"}]}, "ambiguous", "has `conversations`"),
        ({"dialog": [GPT | {"weight": 0}]}, "ambiguous", "has `dialog`"),
        ({"gpt": {"weight": 0.5}}, "weight", r"turn 2 \(assistant\) has `weight` 0.5"),
        ({"gpt": {"loss_weight": 2}}, "weight", "turn 2"),
        ({"gpt": {"train": "some"}}, "weight", "turn 2"),
        ({"gpt": {"mask": True}}, "weight", "turn 2 .* has `mask`"),
        ({"gpt": {"mask": [0, 1, 1]}}, "weight", "turn 2"),
        ({"gpt": {"train_detail": [{"begin_offset": 0}]}}, "weight", "has `train_detail`"),
        ({"gpt": {"weight": 1, "train": False}}, "weight", "another key contradicts"),
        ({"human": {"loss": True}}, "weight", "turn 1"),
        ({"human": {"masked": False, "Train": "yes"}}, "weight", "turn 1"),
        ({"gpt": {"content": [{"text": "Hello", "train": False}]}}, "weight", "in a part"),
        ({"weight": 0}, "untrained", "has `weight` 0"),
        ({"loss_weight": "0.0"}, "untrained", "has `loss_weight`"),
        ({"train": False}, "untrained", "has `train` False"),
        ({"masked": True}, "untrained", "has `masked` True"),
        ({"weight": 0.5}, "weight", "has `weight` 0.5"),
        ({"mask": True}, "weight", "has `mask` True"),
        ({"Weight": 0}, "untrained", "has `Weight` 0"),
        ({"train": "no"}, "untrained", "has `train` 'no'"),
        ({"weight": "0.5"}, "weight", "has `weight` '0.5'"),
        ({"Loss_Weight": "2"}, "weight", "has `Loss_Weight`"),
        ({"weights": [0, 1]}, "weight", "has `weights` .*write `weight` 0 or 1 into each turn"),
        ({"trainable": [False, True]}, "weight", "has `trainable`"),
        ({"loss_mask": "[0, 1]"}, "weight", "has `loss_mask`"),
        ({"loss_mask": [[0, 1], [1]]}, "weight", "has `loss_mask`"),
        ({"train": "[False, True]"}, "weight", "has `train`"),
        ({"train": [None, 0.5]}, "weight", "has `train`"),
        ({"weights": [1, 2.5]}, "weight", "has `weights`"),
        ({"gpt": {"WEIGHT": 0.5}}, "weight", "turn 2"),
        ({"deleted": True}, "untrained", "has `deleted` True: .* or the key if it says"),
        ({"Status": "Discarded"}, "untrained", "has `Status` 'Discarded'"),
        ({"metadata": '{"train": false}'}, "untrained", "has `metadata.train` False"),
        ({"metadata": '{"score": NaN, "train": false}'}, "untrained", "has `metadata.train` False"),
        ({"meta": ' {"is_correct": false}'}, "untrained", "has `meta.is_correct` False"),
        ({"is_valid": False}, "untrained", "if it names the validation set, .* `split`"),
        ({"gpt": {"edited_response": "Hello!"}}, "preference", "turn 2 has `edited_response`"),
        ({"skip": True}, "untrained", "has `skip` True"),
        (
            {"gpt": {"annotation": {"rating": -1, "reason": ""}}},
            "preference",
            "`annotation.rating`",
        ),
        ({"gpt": {"approved": False}}, "untrained", r"turn 2 \(assistant\) has `approved`"),
        ({"gpt": {"label": 0}}, "preference", "turn 2"),
        ({"gpt": {"desired": False}}, "preference", "turn 2"),
        ({"gpt": {"response_b": "No"}}, "preference", "turn 2 has `response_b`"),
        ({"preference": "rejected"}, "preference", "has `preference`"),
        ({"masks": [0, 1]}, "weight", "has `masks`"),
        ({"train_mask": [0, 1]}, "weight", "has `train_mask`"),
        ({"assistant_mask": [0, 1]}, "weight", "has `assistant_mask`"),
        ({"turn_weights": [0, 1]}, "weight", "has `turn_weights`"),
        ({"train_on_turns": [False]}, "weight", "has `train_on_turns`"),
        ({"labels": [-100, 1]}, "weight", "has `labels`"),
        ({"is_training": False}, "untrained", "has `is_training` False"),
        ({"exclude_from_loss": True}, "untrained", "has `exclude_from_loss` True"),
        ({"gpt": {"completion_mask": [0, 1]}}, "weight", "turn 2"),
        ({"gpt": {"assistant_masks": [0, 1]}}, "weight", "turn 2"),
        ({"gpt": {"labels": [-100, 1]}}, "weight", "turn 2"),
        ({"label": "rejected"}, "preference", "has `label`"),
        ({"thumbs_up": False}, "preference", "has `thumbs_up`"),
        ({"label": False}, "preference", "has `label` False"),
        ({"label": "false"}, "preference", "has `label`"),
        ({"kto_tag": False}, "preference", "has `kto_tag`"),
        ({"chosen": GPT, "rejected": GPT}, "preference", "has `chosen`"),
        ({"rejected_response": "No"}, "preference", "has `rejected_response`"),
        ({"thoughts": "Well ..."}, "reasoning", "has `thoughts`"),
        ({"chain_of_thought": "Well ..."}, "reasoning", "has `chain_of_thought`"),
        ({"gpt": {"thinking": "Well ..."}}, "reasoning", "turn 2 has `thinking`"),
        ({"gpt": {"channel": "analysis"}}, "reasoning", "has `channel`"),
        ({"human": {"thinking": "Well ..."}}, "reasoning", "only an answer"),
        ({"instruction": "Translate"}, "ambiguous", "has `instruction`"),
        ({"prompt": "Something else"}, "ambiguous", "has `prompt`"),
        ({"Response": "Something else"}, "ambiguous", "has `response`"),
        ({"history": [["a", "b"]]}, "ambiguous", "has `history`"),
        ({"dialog": [GPT, GPT, HUMAN | {"content": "Ho"}]}, "ambiguous", "has `dialog`"),
        (
            {"gpt": {"content": [{"text": "Hello", "image_url": "a.png"}]}},
            "non_text_part",
            "turn 2",
        ),
    ],
)
def test_what_changes_the_meaning_is_refused_by_name(changes, reason, where):
    with pytest.raises(Rejection, match=where) as rejection:
        check(**changes)
    assert rejection.value.reason == reason


@pytest.mark.parametrize("key", ["metadata", "meta", "Info", "annotation", "Meta-Info"])
@pytest.mark.parametrize("flag, reason", [
    ({"train": False}, "untrained"), ({"exclude_from_loss": "yes"}, "untrained"),
    ({"skip": True}, "untrained"), ({"weight": 0}, "untrained"), ({"lossWeight": 0.0}, "untrained"),
    ({"status": "discarded"}, "untrained"), ({"deleted": True}, "untrained"),
    ({"is_correct": False}, "untrained"), ({"thumbs_down": True}, "preference"),
    ({"feedback": {"rating": "thumbsDown"}}, "preference"), ({"kto_label": False}, "preference"),
])  # fmt: skip
def test_a_flag_in_metadata_is_refused_as_in_the_row(key, flag, reason):
    (name,) = flag
    with pytest.raises(Rejection, match=f"has `{key}.{name}`") as rejection:
        check(**{key: flag | {"source": "web"}})
    assert rejection.value.reason == reason
    with pytest.raises(Rejection, match=rf"turn 2 \(assistant\) has `{key}.{name}`"):
        check(gpt={key: flag})


def test_other_metadata_refuses_no_row():
    metadata = {
        "source": "web", "lang": "en", "score": 0, "label": False, "class": {"label": 0},
        "split": "train", "quality": 0.3, "train": True, "training": {"steps": 0}, "loss": 0.0,
        "weight": 0.5, "skipped": 1, "masked": 0, "status": "deleted", "mask": "[MASK]",
        "weights": [0, 1], "labels": [-100, 1], "rejected": "An answer", "rating": -1, "likes": 0,
        "mask_user": True, "tools": ["hammer"], "image": "a.png", "thinking": "off", "system": "x",
    }  # fmt: skip
    other = {"order": {"train": False, "deleted": True}, "user_info": {"deleted": True}}
    assert check(metadata=metadata, **other) == {"metadata", "order", "user_info"}
    assert check(gpt={"metadata": metadata}) == {"turn.metadata"}
    assert check(human={"metadata": {"train": False}}) == {"turn.metadata"}


@pytest.mark.parametrize("mask", [
    {"weight": 0}, {"weight": 0.0}, {"weight": "0"}, {"loss_weight": 0}, {"train": False},
    {"training": False}, {"trainable": False}, {"loss": False}, {"masked": True}, {"loss_mask": 0},
    {"train": "False"}, {"weight": 0, "train": False}, {"ignore": True}, {"no_loss": 1},
    {"Weight": 0}, {"TRAIN": "no"}, {"Masked": True}, {"use_loss": False}, {"mask_loss": True},
    {"skip": True}, {"lossWeight": 0}, {"is_training": False}, {"include_in_loss": False},
    {"exclude_from_loss": True}, {"calc_loss": 0}, {"dont_train": True}, {"learn": False},
])  # fmt: skip
def test_an_answer_that_is_not_trained_on_is_honoured(mask):
    row = {"messages": [HUMAN, GPT | mask, HUMAN, GPT]}
    read = schemas.read(row, "chatml")
    assert check_extra_keys(read) == set()
    assert [role for role, _ in to_turns(read)] == ["human", UNTRAINED, "human", "gpt"]


def test_weights_that_say_what_is_done_anyway_are_taken():
    human = {"train": False, "weight": 0}
    gpt = {"train": True, "weight": 1.0, "loss": True}
    assert check(human=human, gpt=gpt) == {"turn.train", "turn.weight", "turn.loss"}


# Words of keys that may change the meaning of a row. A last word of LAST says that the key is about
# something else.
WORDS = (
    "train loss mask weight learn skip ignore no response output prompt context document text chat "
    "input user system thinking reasoning analysis chosen rejected preference image tool turn "
    "label source answer message history blue tall garden"
).split()
LAST = "id name date type category difficulty objective strategy garden colour version".split()
JOINS = ("_", "-", " ", ".", "")


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(WORDS), max_size=3),
    st.sampled_from(LAST),
    st.sampled_from(JOINS),
    st.sampled_from(["foo", "a b", "2024-05-01", "rejected", "yes", "0"]),
)
def test_a_key_about_something_else_changes_nothing(parts, last, join, value):
    words = [*parts, last]
    key = join.join(words) if join else words[0] + "".join(map(str.capitalize, words[1:]))
    pair = {"instruction": "Hi", "output": "Hello"}
    rows = [
        ({"messages": [HUMAN, GPT], key: value}, "chatml", key),
        ({"messages": [HUMAN, GPT | {key: value}]}, "chatml", f"turn.{key}"),
        (pair | {key: value}, "alpaca", key),
    ]
    for row, format, name in rows:
        read = schemas.read(prepare(row), format)
        assert check_extra_keys(read) == {name}
        assert to_turns(read) == [("human", "Hi"), ("gpt", "Hello")]


def test_a_name_can_be_printed_whatever_it_is():
    assert check(**{"\x1b[2J": 1, "k" * 5000: 2}) == {ascii("\x1b[2J"), "k" * 60}


def test_of_many_names_the_most_common_are_kept_and_all_are_counted():
    counter = Counter({f"k{n}": n + 1 for n in range(1000)})
    kept = keep_most_common(keep_most_common(counter.copy()) + counter)
    assert len(kept) == MOST and kept.total() == 2 * counter.total() and kept["k999"] == 2000
    assert kept[OTHERS] > 0
