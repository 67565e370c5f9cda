"""FunctionGemma's spelling of declarations, calls and responses, and its way back."""

import pytest
from hypothesis import given, settings

from function_cases import names, objects, values
from gemma_finetune.data.tool_rows import plain
from gemma_finetune.formats.function_calls import (
    answer_message,
    answer_text,
    parse_calls,
    render_call,
    render_declaration,
    render_response,
    render_value,
    split_calls,
)

WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "parameters": {
        "type": "object",
        "properties": {
            "unit": {"type": "string", "enum": ["C", "F"], "default": "C"},
            "Days": {"type": "array", "items": {"type": "integer"}, "nullable": False},
        },
        "required": ["unit"],
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("value, text", [
    ("hall", "<escape>hall<escape>"),
    (True, "true"), (False, "false"), (None, "null"),
    (1, "1"), (1.0, "1"), (-0.0, "0"), (-2.5, "-2.5"), (1e-7, "0.0000001"), (1e20, "1" + "0" * 20),
    ([1, "a", []], "[1,<escape>a<escape>,[]]"),
    ({"b": 1, "A": {}}, "{A:{},b:1}"),
])  # fmt: skip
def test_values(value, text):
    assert render_value(value) == text


def test_a_declaration_has_sorted_keys_types_in_capitals_and_nothing_empty():
    assert render_declaration({"type": "function", "function": WEATHER}) == (
        "<start_function_declaration>declaration:get_weather{"
        "description:<escape>Tells the weather.<escape>,parameters:{properties:{"
        "Days:{items:{type:<escape>INTEGER<escape>},type:<escape>ARRAY<escape>},"
        "unit:{enum:[<escape>C<escape>,<escape>F<escape>],type:<escape>STRING<escape>}},"
        "required:[<escape>unit<escape>],type:<escape>OBJECT<escape>}}<end_function_declaration>"
    )
    assert render_declaration(WEATHER) == render_declaration({"function": WEATHER})
    assert render_declaration({"name": "f", "parameters": {}}) == (
        "<start_function_declaration>declaration:f{description:<escape><escape>}"
        "<end_function_declaration>"
    )


def test_a_call_and_a_response():
    assert render_call("f", {"b": "x", "a": 1}) == (
        "<start_function_call>call:f{a:1,b:<escape>x<escape>}<end_function_call>"
    )
    assert render_response("f", {"ok": True}) == (
        "<start_function_response>response:f{ok:true}<end_function_response>"
    )
    assert render_response("f", "done") == render_response("f", {"result": "done"})


@settings(derandomize=True, deadline=None, max_examples=60)
@given(names, objects(values))
def test_every_call_comes_back(name, arguments):
    (call,) = parse_calls(render_call(name, arguments))
    assert call == {"name": name, "arguments": plain(arguments, "")}


def test_calls_among_words():
    text = (
        "Wait."
        + render_call("f", {"a": "}, {"})
        + render_call("g", {})
        + "<start_function_response>"
    )
    calls = [{"name": "f", "arguments": {"a": "}, {"}}, {"name": "g", "arguments": {}}]
    assert split_calls(text) == ("Wait.", calls)
    message = answer_message(text)
    assert message["content"] == "Wait." and len(message["tool_calls"]) == 2
    assert answer_text(message) == text.removesuffix("<start_function_response>")
    assert answer_message(" Hi\n") == {"role": "assistant", "content": "Hi"}


@pytest.mark.parametrize("body", [
    "call:f{a:}", "call:f{a:1", "call:f{a:<escape>x}", "call:f{a:1}}", "call:true{}", "f{a:1}",
    "call:f{1:1}", "call:f{a:b}", "call:f{a:[1}", "call:", "", "call:f{null:1}", "call:f{a:1.5e3}",
    "call:f{a:1e999}", "call:f{a:-1e999}",
])  # fmt: skip
def test_what_litert_lm_cannot_read_is_no_call(body):
    text = f"<start_function_call>{body}<end_function_call>"
    with pytest.raises(ValueError, match="not a call"):
        parse_calls(text)
    assert answer_message(text) == {"role": "assistant", "content": text}


@pytest.mark.parametrize("text", [
    "<start_function_call>call:f{a:1",
    "<start_function_call>" + render_call("f", {}),
    render_call("f", {}) + "<start_function_call>",
    "<start_function_call>" * 50_000,  # at once: each start is searched for its end only once
])  # fmt: skip
def test_a_call_that_does_not_end_is_none(text):
    with pytest.raises(ValueError, match="does not end"):
        split_calls(text)
