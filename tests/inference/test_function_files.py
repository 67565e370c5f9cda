"""Functions of a file and the commands that carry out calls: a mistake is one sentence."""

import json
import sys

import pytest

import function_model as known
from gemma_finetune.inference.functions import Commands, load_tools, read_conversation
from gemma_finetune.utils.errors import UserError


def test_functions_from_a_file(tmp_path):
    path = tmp_path / "tools.json"
    for text in (json.dumps(known.TOOLS), "\ufeff" + json.dumps(known.TOOLS)):
        path.write_text(text, encoding="utf-8")
        tools = load_tools(path)
        assert [tool["function"]["name"] for tool in tools] == ["set_light", "get_time"]


@pytest.mark.parametrize("content, message", [
    (b"{", "not a JSON list of functions .*not valid JSON"),
    (b"[1]", "tool 1 is not a function with a `name`"),
    (b'[{"name": "true"}]', "the tool has the name 'true'"),
    (b'[{"name": "f"}, {"name": "f"}]', "`tools` declares f twice"),
    (b'[{"name": "f", "name": "g"}]', "the key 'name' is there twice"),
    (b"[" * 100_000, "not valid JSON"),
    (b'[{"name": "f", "parameters": ' + b"[" * 300 + b"]" * 300 + b"}]", "over 100 levels"),
    (b'[{"name": "f", "description": "\\ud800"}]', "not valid JSON"),
    (b'[{"name": "f", "description": "<escape>"}]', "holds <escape>"),
    (b'[{"name": "f", "parameters": {"enum": [1e300]}}]', "over 64 bits"),
    (b"\xff\xfe[\x00", "not UTF-8 text"),
    (b"[]", "an empty list"),
    (b"", "not valid JSON"),
])  # fmt: skip
def test_a_file_without_functions_is_named(tmp_path, content, message):
    path = tmp_path / "tools.json"
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf"tools.json: .*{message}"):
        load_tools(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UserError, match=f"{path}: cannot be read"):
            load_tools(path)


@pytest.mark.parametrize("option", ["set_light", "play=x", "set_light= "])
def test_a_command_is_of_a_known_function(option):
    with pytest.raises(UserError, match="write NAME=COMMAND"):
        Commands.parse([option], known.TOOLS)


def test_a_command_line_that_does_not_end_is_named():
    with pytest.raises(UserError, match="--run: not a command line"):
        Commands.parse(["set_light='x"], known.TOOLS)


def python(code):
    return Commands({"f": f"{sys.executable} -S -c '{code}'"})


@pytest.mark.parametrize("code, result", [
    ("print(input())", {"room": "h\u00e4ll"}),
    ('print(" two\\n lines ")', " two\n lines "),
    ("print(1.10)", 1.1),
    ('print("1.10")', "1.10"),
    ("", ""),
    ('import sys; sys.stdout.buffer.write(b"\\xff")', "\ufffd"),
])  # fmt: skip
def test_a_result_is_what_the_command_printed(code, result):
    assert python(code).result("f", {"room": "h\u00e4ll"}) == result


def test_a_command_that_fails_is_named():
    with pytest.raises(UserError, match="f: its command ended with 1: .*no light"):
        python('raise SystemExit("no light")').result("f", {})
    with pytest.raises(UserError, match="f: its command no-such-command failed"):
        Commands({"f": "no-such-command"}).result("f", {})


@pytest.mark.parametrize("messages, tools, message", [
    ([*known.TWO[1:3], known.user("x")], known.TOOLS, "turn 3 comes before the response"),
    ([known.user("x") | {"tool_calls": [{"name": "f"}]}], [], "turn 1 .* only answers can"),
    (known.TWO, [{"name": "f"}], "turn 2 calls 'set_light', which is not declared"),
    (known.TWO, [1], "tool 1 is not a function"),
    ([known.SYSTEM, *known.TWO], known.TOOLS, "a system text may only be at the start, and once"),
    ([*known.TWO, known.SYSTEM], known.TOOLS, "a system text may only be at the start, and once"),
])  # fmt: skip
def test_a_row_that_is_no_conversation_is_a_sentence(messages, tools, message):
    with pytest.raises(ValueError, match=message):
        read_conversation(messages, tools)
