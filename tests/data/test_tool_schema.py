"""What fits a JSON Schema as people write it, and that nothing else is refused."""

import orjson
import pytest

from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.tool_check import check_calls, check_tools
from gemma_finetune.data.tool_rows import read_tools
from gemma_finetune.formats.function_calls import render_declaration


def tool(**properties):
    parameters = {"type": "object", "properties": properties}
    return {"name": "f", "description": "", "parameters": parameters}


def call(declared, **arguments):
    """The arguments as they are kept. Rejection if the tool or they are refused."""
    tools = read_tools(orjson.loads(orjson.dumps([declared])))
    check_tools(tools)
    [kept] = check_calls([({"name": "f", "arguments": arguments}, "turn 2")], tools)
    return kept["arguments"]


FITS = [
    ({"type": "integer", "minimum": 0, "maximum": 2**64 - 1}, 7, -1),
    ({"type": "number", "minimum": -1.7976931348623157e308, "maximum": 1e300}, 0.5, "x"),
    ({"type": "integer", "minimum": -(10.0**30), "exclusiveMaximum": 10**19}, 5, 0.5),
    ({"anyOf": [{"maximum": 2**64 - 1, "type": "integer"}]}, 7, "x"),
    ({"type": "string", "pattern": r"^\p{L}+$"}, "J\u00fcrgen", "7"),
    ({"type": "string", "pattern": r"^[\p{Lu}\p{N}]{2}$"}, "\u00c47", "a7"),
    ({"type": "string", "pattern": r"^(?<year>\d{4})$"}, "2026", "26"),
    ({"type": "string", "pattern": r"^\d{3}$"}, "123", "12"),
    ({"type": "object", "patternProperties": {r"^\p{L}$": {"type": "integer"}},
      "additionalProperties": False}, {"a": 1}, {"ab": 1}),
    ({"type": "object", "patternProperties": {r"^\p{L}$": {"type": "integer"}}},
     {"ab": "x"}, {"a": "x"}),
    ({"type": "number", "multipleOf": 0.01}, 19.99, 19.995),
    ({"type": "number", "multipleOf": 0.1}, 0.3, 0.35),
    ({"type": "integer", "minimum": 0, "exclusiveMinimum": True}, 1, 0),  # draft 4
    ({"type": "integer", "minimum": 0, "exclusiveMinimum": False}, 0, -1),
    ({"type": "array", "items": [{"type": "string"}, {"type": "integer"}]}, ["a", 1], [1, "a"]),
    ({"type": "ARRAY", "maxItems": "2"}, ["a", "b"], ["a", "b", "c"]),  # Gemini
    ({"type": "string", "nullable": True, "enum": ["a"]}, "a", "b"),
    ({"nullable": True, "anyOf": [{"type": "string"}]}, "a", 1),
    ({"type": "string", "enum": []}, "a", 1),  # an empty list that another program filled in
    ({"type": "", "enum": ["a"]}, "a", "b"),
    ({"const": None, "type": "string"}, "a", 1),  # a null that a table filled in
    ({"$schema": "http://json-schema.org/draft-04/schema#", "type": "string"}, "a", 1),
]  # fmt: skip


@pytest.mark.parametrize("schema, right, wrong", FITS)
def test_right_arguments_are_kept_and_wrong_ones_refused(schema, right, wrong):
    for declared in (schema, {"type": "array", "items": schema}):
        is_list = declared is not schema
        expected = [right] if is_list else right
        assert call(tool(a=declared), a=expected) == {"a": expected}
        with pytest.raises(Rejection, match="turn 2 calls f with arguments against its schema"):
            call(tool(a=declared), a=[wrong] if is_list else wrong)


@pytest.mark.parametrize("schema", [
    {"type": "string", "pattern": r"^\cA[^]$"},
    {"type": "string", "pattern": "("},
    {"type": "string", "pattern": r"\p{NoSuchThing}"},
    {"type": "string", "format": "no-such-format", "contentMediaType": "x/y"},
])  # fmt: skip
def test_what_cannot_be_judged_refuses_no_row(schema):
    assert call(tool(a=schema), a="x") == {"a": "x"}
    with pytest.raises(Rejection, match="at a: 1 is not of type 'string'"):
        call(tool(a=schema), a=1)


def test_a_pattern_beside_unevaluated_properties_refuses_no_row():
    inner = {"patternProperties": {r"\p{L}": {}}, "unevaluatedProperties": False}
    assert call(tool(a=inner), a={"x": 1}) == {"a": {"x": 1}}


def test_a_pattern_that_takes_for_ever_refuses_no_row(monkeypatch):
    monkeypatch.setattr("gemma_finetune.data.tool_schema.PATTERN_S", 0.01)
    slow = {"type": "string", "pattern": "^(a|aa)+$"}  # tries 2 ** 40 ways
    assert call(tool(a=slow), a="a" * 60 + "!") == {"a": "a" * 60 + "!"}


def test_names_of_parameters_are_no_keywords():
    capitals = {"type": "STRING"}
    declared = tool(default=capitals, enum=capitals, type=capitals, nullable=capitals, items=None)
    arguments = {"default": "a", "enum": "b", "type": "c", "nullable": "d"}
    assert call(declared, **arguments) == arguments
    for name in arguments:
        with pytest.raises(Rejection, match=f"at {name}: 1 is not of type 'string'"):
            call(declared, **(arguments | {name: 1}))


def test_a_null_is_kept_where_only_a_reference_requires_it():
    point = {"type": "object", "properties": {"x": {"type": ["integer", "null"]}}}
    declared = tool(a={"$ref": "#/$defs/point"}, b={"type": "string"})
    declared["parameters"]["$defs"] = {"point": point | {"required": ["x"]}}
    assert call(declared, a={"x": None}) == {"a": {"x": None}}
    assert call(declared, a={"x": 1}, b=None) == {"a": {"x": 1}}
    # As Arrow fills them in: of this function and of others
    assert call(declared, a={"x": None}, b=None, city=None) == {"a": {"x": None}}


@pytest.mark.parametrize("reference", ["#/required/x", "#/required/0", "#/properties/a/$ref"])
def test_a_reference_to_what_is_no_schema_is_a_rejection(reference):
    declared = tool(a={"$ref": reference})
    declared["parameters"]["required"] = ["a"]
    with pytest.raises(Rejection, match="has a schema that cannot be followed"):
        call(declared, a=1)


def test_a_message_does_not_hold_a_whole_value():
    with pytest.raises(Rejection) as found:
        call(tool(a={"type": "integer"}), a="x" * 5000)
    assert len(str(found.value)) < 400


def test_a_null_that_a_schema_requires_is_kept_and_others_are_dropped():
    """OpenAI's strict functions require every parameter."""
    inner = {"type": "object", "properties": {"x": {"type": ["string", "null"]}}, "required": ["x"]}
    declared = tool(a=inner, b={"type": "array", "items": inner}, c={"type": "string"})
    arguments = {"a": {"x": None, "y": None}, "b": [{"x": None, "y": None}], "c": None, "d": None}
    assert call(declared, **arguments) == {"a": {"x": None}, "b": [{"x": None}]}


def test_values_that_a_declaration_prints_must_be_exact_everywhere():
    with pytest.raises(Rejection, match="tool 1 holds the number 18446744073709551615") as found:
        call(tool(a={"enum": [2**64 - 1]}))
    assert found.value.reason == "tool"


@pytest.mark.parametrize("parameters", [
    None, {}, "", "{}", [], {"properties": {}}, {"properties": []}, {"type": None, "required": []},
    {"type": None, "properties": {"a": None}},
])  # fmt: skip
def test_parameters_that_say_nothing_are_none(parameters):
    [read] = read_tools([{"name": "f", "parameters": parameters}])
    assert read == {"name": "f", "description": ""}
    assert render_declaration(read) == (
        "<start_function_declaration>declaration:f{description:<escape><escape>}"
        "<end_function_declaration>"
    )


def test_a_parameter_of_any_type_is_declared():
    [read] = read_tools([{"name": "f", "parameters": {"properties": {"a": {}}}}])
    assert "parameters:{properties:{a:{}}}" in render_declaration(read)
