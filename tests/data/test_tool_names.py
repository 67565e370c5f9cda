"""Names that no runtime could read, and strings with a control piece, are refused by name."""

import pytest

from function_rows import OPENAI, assert_refused, changed, checked, function
from gemma_finetune.config import FUNCTION_PIECES
from gemma_finetune.data.rejection import Rejection

REFUSED = [
    (lambda row: function(row).update(arguments={"room": "a", "b c": 1}), "tool_call", "'b c'"),
    (
        lambda row: function(row).update(arguments={"room": "a", "Room": 1}),
        "tool",
        "turn 2, a call of set_light, has the names 'Room' and 'room', which differ in case alone",
    ),
    (
        lambda row: row["tools"][0]["function"]["parameters"]["properties"].update(LEVEL={}),
        "tool",
        "the tool set_light has the names 'level' and 'LEVEL', which differ in case alone",
    ),
    (
        lambda row: row["messages"][2].update(content={"a": [{"ok": 1, "oK": 2}]}),
        "tool",
        "turn 3 has the names 'oK' and 'ok', which differ in case alone",
    ),
    (lambda row: row["tools"][0]["function"].update(name="true"), "tool", "'true'"),
    (lambda row: row["tools"][0]["function"].update(name="a b"), "tool", "'a b'"),
]


@pytest.mark.parametrize("change, reason, message", REFUSED)
def test_what_cannot_be_a_name_is_refused(change, reason, message):
    assert_refused(change, reason, message)


@pytest.mark.parametrize("piece", [*FUNCTION_PIECES, "<end_of_turn>"])
@pytest.mark.parametrize("place", [
    lambda row, piece: row["messages"][0].update(content=f"a {piece}"),
    lambda row, piece: row["messages"][2].update(content={piece: 1}),
    lambda row, piece: row["messages"][2].update(content={"a": [f"b {piece}"]}),
    lambda row, piece: function(row).update(arguments={"room": piece}),
    lambda row, piece: row["tools"][0]["function"].update(description=piece),
    lambda row, piece: row["tools"][0]["function"]["parameters"].update({"enum": [{piece: 1}]}),
])  # fmt: skip
def test_a_control_piece_in_any_string_or_key_is_refused(place, piece):
    with pytest.raises(Rejection) as rejection:
        checked(changed(lambda row: place(row, piece)))
    assert rejection.value.reason == "control_token"


def test_a_plain_row_with_a_piece_of_calls_is_a_row():
    row = {"messages": [{"role": "user", "content": "<escape>"}, OPENAI["messages"][3]]}
    assert checked(row).turns[0] == ("human", "<escape>")
