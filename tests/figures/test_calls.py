import pytest

from gemma_finetune.figures.calls import FIGURES, figures, has_calls, judge
from gemma_finetune.formats.function_calls import render_call

WANTED = render_call("f", {"a": 1, "b": "x", "c": [True]})
RIGHT = {"call_parsed", "call_name", "call_arguments", "call_exact"}


@pytest.mark.parametrize("answer, true", [
    (WANTED, RIGHT),
    ("Yes. " + WANTED + "<start_function_response>", RIGHT),
    ("<start_function_call>call:f{c:[true],b:<escape>x<escape>,a:1.0}<end_function_call>", RIGHT),
    (render_call("f", {"a": "1", "b": "x", "c": [True]}), {"call_parsed", "call_name"}),
    (render_call("f", {"a": True, "b": "x", "c": [True]}), {"call_parsed", "call_name"}),
    (render_call("f", {"a": 1, "b": "x", "c": [1]}), {"call_parsed", "call_name"}),
    (render_call("f", {"a": 1, "b": "x"}), {"call_parsed", "call_name"}),
    (render_call("g", {"a": 1, "b": "x", "c": [True]}), {"call_parsed", "call_arguments"}),
    (WANTED * 2, {"call_parsed"}),
    ("Hi", {"call_parsed", "missed_call"}),
    ("<start_function_call>call:f{a:1", {"missed_call"}),
    ("<start_function_call>call:f{a:}<end_function_call>", {"missed_call"}),
])  # fmt: skip
def test_an_answer_beside_a_reference_with_a_call(answer, true):
    assert judge(WANTED, answer) == {name: name in true for name in FIGURES}


@pytest.mark.parametrize("answer, true", [
    ("Hello", RIGHT),
    ("Another text", RIGHT),
    (WANTED, {"call_parsed", "false_call"}),
    ("<start_function_call>call:f{", {"false_call"}),
])  # fmt: skip
def test_an_answer_beside_a_reference_in_words(answer, true):
    assert judge("Hi", answer) == {name: name in true for name in FIGURES}


def test_figures_are_shares():
    found = figures([WANTED, "Hi", WANTED], [WANTED, "Hi", "Hi"])
    assert {name: values.mean() for name, values in found.items()} == pytest.approx(
        {
            "call_parsed": 1,
            "call_name": 2 / 3,
            "call_arguments": 2 / 3,
            "call_exact": 2 / 3,
            "false_call": 0,
            "missed_call": 1 / 3,
        }
    )
    assert has_calls(["Hi", WANTED]) and not has_calls(["Hi"])
