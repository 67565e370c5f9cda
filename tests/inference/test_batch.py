import json
import os
import re

import pytest

from gemma_finetune.formats.chat_template import render
from gemma_finetune.inference.batch import (
    UnfinishedOutput,
    read_requests,
    refuse_as_output,
    refuse_too_long,
)
from gemma_finetune.utils.errors import UserError

from .test_chat import EchoBackend

TEXT = "<start_of_turn>user\ntwo<end_of_turn>\n<start_of_turn>model\nTWO<end_of_turn>\n"
ROWS = [{"messages": [{"role": "user", "content": "one"}]}, {"id": "b", "text": TEXT}]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_reads_messages_and_rendered_text(tmp_path):
    plain, formatted = read_requests(write(tmp_path / "in.jsonl", *ROWS))
    assert plain.messages == [{"role": "user", "content": "one"}]
    assert formatted.messages == [{"role": "user", "content": "two"}]
    assert (formatted.id, formatted.reference) == ("b", "TWO")


def test_of_a_row_with_both_the_messages_are_read(tmp_path):
    """A formatted row: only its messages keep a system text apart from the first question."""
    system = {"role": "system", "content": "Be brief."}
    question = {"role": "user", "content": "two"}
    messages = [system, question, {"role": "assistant", "content": "TWO"}]
    row = {"id": "c", "messages": messages, "text": render(messages)}
    [request] = read_requests(write(tmp_path / "in.jsonl", row))
    assert request.messages == [system, question]
    assert (request.id, request.reference) == ("c", "TWO")
    assert request.answered("2")["messages"][0] == system


@pytest.mark.parametrize("row, reason", [
    ({"instruction": "Hi", "output": ""}, "it has neither `messages` nor `text`"),
    ({"messages": [{"role": "user"}]}, "no 'content'"),
])  # fmt: skip
def test_the_message_shows_what_a_row_is(tmp_path, row, reason):
    with pytest.raises(UserError) as refusal:
        read_requests(write(tmp_path / "in.jsonl", row))
    _, said, example = re.fullmatch(
        r"(.*):1: not a conversation \((.*)\); a row is (.*)", str(refusal.value)
    ).groups()
    assert said == reason
    [request] = read_requests(write(tmp_path / "in.jsonl", json.loads(example)))
    assert request.messages[-1]["role"] == "user"


def test_an_answered_row_is_a_conversation(tmp_path):
    plain, formatted = read_requests(write(tmp_path / "in.jsonl", *ROWS))
    assert plain.answered(" ONE\n") == {
        "messages": [*plain.messages, {"role": "assistant", "content": "ONE"}]
    }
    assert formatted.answered("x")["reference"] == "TWO"


@pytest.mark.parametrize(
    "row",
    [
        {},
        [],
        {"messages": []},
        {"messages": "hi"},
        {"text": "hi"},
        {"messages": [{"role": "user"}]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]},
    ],
)
def test_a_row_that_is_no_conversation_is_named(tmp_path, row):
    with pytest.raises(UserError, match="in.jsonl:2: not a conversation"):
        read_requests(write(tmp_path / "in.jsonl", ROWS[0], row))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_requests(tmp_path / "in.jsonl")


def test_output_appears_when_all_rows_are_there(tmp_path):
    output = UnfinishedOutput(tmp_path / "out.jsonl", {"seed": 0})
    for row in ROWS:
        output.append(row)
    assert not (tmp_path / "out.jsonl").exists()
    output.finish()
    assert read(tmp_path / "out.jsonl") == ROWS
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]


def test_resumes_after_the_last_whole_row(tmp_path):
    UnfinishedOutput(tmp_path / "out.jsonl", {"seed": 0}).append(ROWS[0])
    with open(tmp_path / "out.jsonl.partial", "a") as file:
        file.write('{"cut sh')
    resumed = UnfinishedOutput(tmp_path / "out.jsonl", {"seed": 0})
    assert resumed.rows == 1
    resumed.append(ROWS[1])
    resumed.finish()
    assert read(tmp_path / "out.jsonl") == ROWS


@pytest.mark.parametrize("length", [0, 1, 20])
def test_starts_over_if_the_first_line_is_not_whole(tmp_path, length):
    UnfinishedOutput(tmp_path / "out.jsonl", {"seed": 0})
    partial = tmp_path / "out.jsonl.partial"
    header = partial.read_bytes()
    partial.write_bytes(header[:length])
    assert UnfinishedOutput(tmp_path / "out.jsonl", {"seed": 0}).rows == 0
    assert partial.read_bytes() == header


def test_answers_made_with_other_settings_are_kept_and_the_difference_told(tmp_path):
    UnfinishedOutput(tmp_path / "out.jsonl", {"seed": 0, "top_k": 4}).append(ROWS[0])
    kept = (tmp_path / "out.jsonl.partial").read_bytes()
    expected = r"out.jsonl.partial: .*\(seed was 0, is 1\); delete it to start over"
    with pytest.raises(UserError, match=expected):
        UnfinishedOutput(tmp_path / "out.jsonl", {"seed": 1, "top_k": 4})
    assert (tmp_path / "out.jsonl.partial").read_bytes() == kept


@pytest.mark.parametrize("content", ["mine", "[]\n", '{"settings": 7}\n', '{"id": 1}\n{"id": 2}\n'])
def test_a_file_of_that_name_that_is_someone_s_own_is_left_alone(tmp_path, content):
    (tmp_path / "out.jsonl.partial").write_text(content)
    with pytest.raises(UserError, match="not the unfinished answers of generate.py"):
        UnfinishedOutput(tmp_path / "out.jsonl", {"seed": 0})
    assert (tmp_path / "out.jsonl.partial").read_text() == content


def test_a_request_that_does_not_fit_is_named_before_any_is_answered(tmp_path):
    long = {"messages": [{"role": "user", "content": "x" * 300}]}
    path = write(tmp_path / "in.jsonl", *ROWS, long)
    refuse_too_long(read_requests(path)[:2], EchoBackend(300), path)
    expected = "in.jsonl:3: the prompt is too long: 3.. tokens, .* holds 300"
    with pytest.raises(UserError, match=expected):
        refuse_too_long(read_requests(path), EchoBackend(300), path)


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="out.jsonl.partial: cannot be written"):
        UnfinishedOutput(tmp_path / "file/out.jsonl", {})


@pytest.mark.parametrize("output", ["/dev/null", "/dev/stdout", "pipe", "in.jsonl", "."])
def test_answers_never_take_the_place_of_what_is_no_file_of_answers(tmp_path, output):
    """They would: the finished file is renamed to its name, and root may do so even in /dev."""
    write(tmp_path / "in.jsonl", *ROWS)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="name another file for the answers"):
        refuse_as_output(tmp_path / output, tmp_path / "in.jsonl")
    refuse_as_output(tmp_path / "new/out.jsonl", tmp_path / "in.jsonl")
