"""The one rule for reasoning, whether it stands beside an answer or inside it."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data.reasoning import has_reasoning, without_channels, without_reasoning
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.validation import check

HELLO = [("human", "Hi"), ("gpt", "Hello")]


def checked(row, rule):
    return check(json.dumps(row).encode(), "auto", ["trim"], rule=rule)


def chat(answer, **changes):
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": answer} | changes]
    return {"messages": turns}


ROWS = [
    chat("Hello", reasoning_content="Well ..."),
    chat("Hello", thinking="Well ..."),
    chat("Hello", thoughts="Well ..."),
    chat("Hello") | {"rationale": "Well ..."},
    {"prompt": "Hi", "completion": "Hello", "chain_of_thought": "Well ..."},
    {"Question": "Hi", "Complex_CoT": "Well ...", "Response": "Hello"},
    {"instruction": "Hi", "output": "Hello", "reasoning": "Well ..."},
    chat("Hello", cot_reasoning="Well ..."),
    chat("Hello", thinkContent="Well ..."),
    chat("Hello") | {"internal monologue": "Well ..."},
    chat("Hello") | {"analysis": "Well ..."},
    {"prompt": "Hi", "completion": "Hello", "deepseek_thinking_trajectory": "Well ..."},
    chat("<|channel|>analysis<|message|>Well ...<|end|>"
         "<|start|>assistant<|channel|>final<|message|>Hello<|return|>"),
    chat("<|channel|>analysis\nWell ...<|end|>Hello"),
    chat("<think>\nWell ...\n</think>\n\nHello"),
    {"instruction": "Hi", "output": "<think>\nWell ...\n</think>\n\nHello"},
    chat("Hello", reasoning="Well ...", reasoning_details=[{"type": "reasoning.text"}]),
    chat("Hello", reasoning="Well ...", reasoning_content="Well ...\n"),
    chat("Hello", reasoning="Well ...") | {"thoughts": "Well ..."},
    chat("<think>\n\n</think>\n\nHello", reasoning_content="Well ..."),
    chat("<think>\nWell ...\n</think>\n\nHello", reasoning_content="Well ..."),
    chat("<|channel|>analysis<|message|>Well ...<|end|><|channel|>final<|message|>Hello",
         reasoning_content="Well ..."),
    chat([{"type": "thinking", "thinking": "Well ...", "signature": "x"}, {"text": "Hello"}]),
    chat([{"type": "reasoning", "text": "Well ..."}, {"type": "output_text", "text": "Hello"}]),
    chat([{"text": "Well ...", "thought": True}, {"text": "Hello"}], thoughts="Well ..."),
    chat('<details type="reasoning" done="true" duration="3">\n<summary>Thought for 3 seconds'
         "</summary>\n> Well ...\n</details>\nHello"),
    chat('\n<details type="reasoning" done="true"><summary>Thought</summary>&gt; Well ...</details>'
         "\n\nHello"),
    {"text": "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
             "<think>\nWell ...\n</think>\n\nHello<|im_end|>"},
]  # fmt: skip


def test_reasoning_of_open_webui_keeps_its_paragraphs():
    block = '<details type="reasoning" done="true">\n> a\n\n> b\n>\n> c\n</details>\nHello'
    assert without_channels(block) == "<think>\na\n\nb\n\nc\n</think>\n\nHello"


@pytest.mark.parametrize("answer", [
    "<details><summary>More</summary>\nHello</details>\nBye",
    'Write `<details type="reasoning">`:\n```\n<details type="reasoning">\na\n</details>\n```',
])  # fmt: skip
def test_other_details_are_text(answer):
    assert without_channels(answer) is answer


@pytest.mark.parametrize("row", ROWS)
def test_refused_dropped_or_kept(row):
    with pytest.raises(Rejection, match="data.reasoning says what to do") as rejection:
        checked(row, "refuse")
    assert rejection.value.reason == "reasoning"

    dropped = checked(row, "drop")
    assert dropped.turns == HELLO and dropped.repairs == ["drop_reasoning"]

    kept = checked(row, "keep")
    answer = "<think>\nWell ...\n</think>\n\nHello"
    assert kept.turns == [HELLO[0], ("gpt", answer)] and kept.repairs == ["keep_reasoning"]


@pytest.mark.parametrize("rule", ["refuse", "drop", "keep"])
def test_no_reasoning_is_no_reasoning(rule):
    for row in (chat("Hello"), chat("Hello", thinking=""), chat("Hello", reasoning=None)):
        result = checked(row, rule)
        assert result.turns == HELLO and result.repairs == []


@pytest.mark.parametrize("answer, left", [
    ("<think>a</think>b", "b"),
    ("<think>a</think> b\n <think>c</think> d", "b\n  d"),
    ("<think>use `</think></think>b", "b"),
    ("<think>a</think><think>b</think>c", "c"),
    ("a `<think>`\n</think>\nb", "b"),
    ("a</think>\nb", "b"),
    ("<THINKING>a</THINKING>\nb", "b"),
    ("a\n</think>b", "b"),  # it began in the prompt
    ("<think>a<think>b</think>c", "c"),
    ("[THINK]a[/THINK]b", "b"),
    ("<|begin_of_thought|>a<|end_of_thought|>b", "b"),
    ("<|begin_of_thought|>a<|end_of_thought|>\n<|begin_of_solution|>\nb\n<|end_of_solution|>", "b"),
    ("<think>a</think>b <|begin_of_solution|>", "b <|begin_of_solution|>"),
    ("<reasoning>a</reasoning>b", "b"),
    ("<thought>a</thought>b", "b"),
    ("<reflection>a</reflection>\nb", "b"),
    ("<analysis>a</analysis>b", "b"),
    (" <scratchpad>\na\n</scratchpad>\n\nb", "b"),
    ("<Thought Process>a</Thought Process>b", "b"),
    ("<internal_monologue>a</internal_monologue><reflection>b</reflection>c", "c"),
    ("◁think▷a◁/think▷b", "b"),
    ("<seed:think>a</seed:think>b", "b"),
    ("<|START_THINKING|>a<|END_THINKING|>b", "b"),
    ("<|channel>thought\na<channel|>b", "b"),
    ("<analysis>a</analysis>\n<think>b</think>c", "c"),
    ("<think>\n\n</think>\n\nb", "b"),
    ("A.\n```python\nx = 1\nSo 3.\n</think>\n\nHere:\n```python\nx = 3\n```\nDone.",
     "Here:\n```python\nx = 3\n```\nDone."),
])  # fmt: skip
def test_what_is_left_without_reasoning(answer, left):
    assert has_reasoning(answer)
    assert without_reasoning(answer, "turn 2") == left


@pytest.mark.parametrize("answer", [
    "The tag `<think>` opens reasoning, and `</think>` closes it.",
    "```xml\n<think>a</think>\n```", "```\n</think>\n```", "It ends with ` </think> `.",
    "```python\ntext.split('</think>')\n```", "Write `stop=[\"</think>\"]` there.",
    "a < b", "I think so.", "Use <thinker>.", "Give your <reasoning>here</reasoning>.", "[x] THINK",
    "<analysis><row/></analysis>", "<rationale>a</rationale><score>3</score>", "<analysis>a",
    "It is:\n<analysis>a</analysis>\nb",
    "```xml\n<scratchpad>a</scratchpad>\n```", "<plan>a</plan>b",
    "<data_analysis>a</data_analysis>b", "The tag `<scratchpad>` is for notes.",
])  # fmt: skip
def test_what_only_looks_like_reasoning(answer):
    assert not has_reasoning(answer)
    assert without_reasoning(answer, "turn 2") is answer


@pytest.mark.parametrize("answer, message", [
    ("<think>Well", "turn 2 opens '<think>Well' and never closes it"),
    ("The tag <think> opens it, and </think> closes it.", "turn 2 has '<think>' inside a line"),
    ("<think>a</think> b <think>c</think> d", "turn 2 has '<think>' inside a line"),
    ("It ends with </think> here.", "turn 2 has '</think>' inside a line"),
    ("Use the ` key.</think> Use `x`.", "turn 2 has '</think>' inside a line"),
])  # fmt: skip
def test_reasoning_that_is_unclear_is_not_dropped(answer, message):
    with pytest.raises(Rejection, match=message) as rejection:
        checked(chat(answer), "drop")
    assert rejection.value.reason == "reasoning"
    assert checked(chat(answer), "keep").turns == [("human", "Hi"), ("gpt", answer)]


def test_an_answer_of_reasoning_alone_is_empty():
    with pytest.raises(Rejection, match="turn 2 .* has no text"):
        checked(chat("<think>Well</think>"), "drop")


def test_reasoning_that_is_not_a_text_is_not_kept():
    row = chat("Hello", reasoning_details=[{"type": "summary"}])
    assert checked(row, "drop").turns == HELLO
    with pytest.raises(Rejection, match="`reasoning_details`, which is not one text"):
        checked(row, "keep")


@pytest.mark.parametrize("answer, beside, message", [
    ("Hello", {"reasoning": "a", "thoughts": "b"}, "has `reasoning` and `thoughts`, which differ"),
    ("<think>a</think>Hello", {"reasoning": "b"}, "turn 2 has .* other reasoning beside it"),
    ("a\n</think>\nHello", {"reasoning": "b"}, "turn 2 has .* other reasoning beside it"),
    ([{"type": "redacted_thinking", "data": "x"}, {"text": "Hello"}], {}, "without its text"),
    ([{"type": "thinking", "thinking": "a"}, {"text": "Hello"}], {"reasoning": "b"}, "other"),
])  # fmt: skip
def test_reasoning_of_two_kinds_is_not_kept(answer, beside, message):
    with pytest.raises(Rejection, match=message) as rejection:
        checked(chat(answer, **beside), "keep")
    assert rejection.value.reason == "reasoning"
    assert checked(chat(answer, **beside), "drop").turns == HELLO


@pytest.mark.parametrize("answer", [
    "<think>a</think>Hello", "<reasoning>a\n</reasoning>\nHello", "a\n</think>\nHello",
    "<think>a</think>\nThe tag <think> opens it.",
])  # fmt: skip
def test_the_same_reasoning_is_not_kept_twice(answer):
    kept = checked(chat(answer, reasoning_content="a"), "keep")
    assert kept.turns == [HELLO[0], ("gpt", answer)] and kept.repairs == ["keep_reasoning"]


def test_reasoning_is_kept_beside_an_answer_about_its_tags():
    kept = checked(chat("The tag <think> opens it.", reasoning="a"), "keep")
    answer = "<think>\na\n</think>\n\nThe tag <think> opens it."
    assert kept.turns == [HELLO[0], ("gpt", answer)]


def test_parts_of_reasoning_are_only_an_answers():
    row = chat("Hello")
    row["messages"][0]["content"] = [{"type": "thinking", "thinking": "a"}, {"text": "Hi"}]
    for rule in ("refuse", "drop", "keep"):
        with pytest.raises(Rejection, match="turn 1 has `thinking`, which only an answer can have"):
            checked(row, rule)


def test_an_answer_in_the_channel_of_answers_is_that_answer():
    answer = "<|channel|>final<|message|>Hello"
    assert checked(chat(answer), "refuse").turns == HELLO
    for other in ("<|channel|>analysis<|message|>Well", "<|channel|>commentary to=x<|message|>{}"):
        with pytest.raises(Rejection, match="another model's chat template"):
            checked(chat(other), "drop")


def test_a_users_words_about_reasoning_stay():
    row = chat("Hello")
    row["messages"][0]["content"] = "What is <think>x</think>?"
    assert checked(row, "drop").turns[0] == ("human", "What is <think>x</think>?")


def test_many_tags_take_linear_time():
    assert without_reasoning("<think>a</think>" * 100_000 + "b", "turn 2") == "b"
    assert without_reasoning("<think>" * 100_000 + "</think>b", "turn 2") == "b"
    assert without_reasoning("a\n</think>\n" * 100_000 + "b", "turn 2") == "b"
    assert without_reasoning("```a\n</think>\n" * 100_000 + "b", "turn 2") == "b"
    assert without_reasoning("<analysis>a</analysis>" * 5_000 + "b", "turn 2") == "b"
    assert without_channels("<|channel|>" * 100_000) == "<|channel|>" * 100_000
    assert without_reasoning("```" + "a\n</think>\n" * 100_000 + "```b", "turn 2") == "```b"


@settings(derandomize=True, deadline=None)
@given(st.lists(st.sampled_from(["<think>", "</think>", "a", " ", "[THINK]", "<thought>", "\n"])))
def test_nothing_of_reasoning_is_left(parts):
    try:
        left = without_reasoning("".join(parts), "turn 2")
    except Rejection:
        return
    if "<thought>" not in parts:  # at the beginning it is the only tag that is looked for
        assert not has_reasoning(left)
