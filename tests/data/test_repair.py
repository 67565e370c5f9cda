"""What is repaired, what is counted, and what is rejected."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.config import CONTROL_PIECES
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.repair import REPAIRS, repair
from gemma_finetune.data.roles import UNTRAINED

H, G, S, U = "human", "gpt", "system", UNTRAINED
GOOD = [(H, "Hi"), (G, "Hello")]


@pytest.mark.parametrize(
    "turns, repaired, repairs",
    [
        (GOOD, GOOD, []),
        ([(H, " Hi\n"), (G, "Hello")], GOOD, ["trim"]),
        ([(H, "a"), (H, "b"), (G, "c"), (G, "d")], [(H, "a\n\nb"), (G, "c\n\nd")], ["merge_turns"]),
        ([*GOOD, (H, "Bye")], GOOD, ["drop_trailing_user"]),
        ([*GOOD, (H, "a "), (H, "b")], GOOD, ["trim", "merge_turns", "drop_trailing_user"]),
        ([(H, "a\r\nb\rc"), (G, "x")], [(H, "a\nb\nc"), (G, "x")], ["line_breaks"]),
        (
            [(H, "a_x000D_\nb"), (G, "_x000D_\r\nx")],
            [(H, "a\nb"), (G, "x")],
            ["line_breaks", "trim"],
        ),
        ([(H, "What is _x000D_?"), (G, "x")], [(H, "What is _x000D_?"), (G, "x")], []),
        ([(H, "Hi\r\n"), (G, "Hello")], GOOD, ["line_breaks", "trim"]),
        ([(S, "a"), (S, "b"), *GOOD], [(S, "a\n\nb"), *GOOD], ["join_system"]),
        ([(S, "a"), (S, "a"), *GOOD], [(S, "a"), *GOOD], ["join_system"]),
        ([(S, "\u200b"), *GOOD], GOOD, ["trim"]),
        ([*GOOD, (H, "x"), (G, "")], GOOD, ["cut_at_empty"]),
        ([*GOOD, (H, "x"), (G, "\u200b"), (H, "y"), (G, "z")], GOOD, ["cut_at_empty"]),
        ([*GOOD, (H, "x"), (H, "y"), (G, "")], GOOD, ["cut_at_empty"]),
        ([*GOOD, (H, "x"), (U, "")], GOOD, ["cut_at_empty"]),
        ([(G, "Welcome!"), *GOOD], GOOD, ["drop_leading_assistant"]),
        ([(S, "a"), (G, "b"), (U, "c"), *GOOD], [(S, "a"), *GOOD], ["drop_leading_assistant"]),
        ([(H, "a"), (U, "b"), *GOOD], [(H, "a"), (U, "b"), *GOOD], []),
        ([(H, "a"), (U, "b"), (U, "c"), *GOOD], [(H, "a"), (U, "b\n\nc"), *GOOD], ["merge_turns"]),
        ([(S, "Be brief."), *GOOD], [(S, "Be brief."), *GOOD], []),
        ([(S, " "), *GOOD], GOOD, ["trim"]),
    ],
)
def test_repairs(turns, repaired, repairs):
    assert repair(turns, REPAIRS) == (repaired, repairs)


@pytest.mark.parametrize(
    "turns, reason",
    [
        ([(H, " Hi"), (G, "x")], "outer_space"),
        ([*GOOD, (G, "x")], "same_role_twice"),
        ([*GOOD, (H, "x")], "no_answer"),
        ([(H, "a\rb"), (G, "x")], "carriage_return"),
        ([(S, "a"), (S, "b"), *GOOD], "system_twice"),
        ([*GOOD, (H, "x"), (G, "\ufeff")], "empty_turn"),
        ([(G, "Welcome!"), *GOOD], "starts_with_gpt"),
    ],
)
def test_a_repair_that_is_not_allowed_is_a_rejection(turns, reason):
    with pytest.raises(Rejection, match="data.repairs") as rejection:
        repair(turns, [])
    assert rejection.value.reason == reason


@pytest.mark.parametrize(
    "turns, reason",
    [
        ([(H, "Hi"), (G, " \n")], "empty_turn"),
        ([], "no_turns"),
        ([(S, "x")], "no_turns"),
        ([(H, "Hi")], "no_turns"),
        ([(H, "Hi"), (G, "")], "empty_turn"),
        ([(S, "x"), (H, "Hi"), (G, "\u200b"), *GOOD], "empty_turn"),
        ([(G, "x"), (H, "y")], "no_turns"),
        ([(G, "x")], "starts_with_gpt"),
        ([(H, "x"), (S, "y"), (G, "z")], "system_inside"),
        ([(S, "x"), *GOOD, (S, "y"), *GOOD], "system_inside"),
        ([(H, "x"), (U, "y")], "untrained"),
        ([(H, "x"), (U, "y"), (G, "z")], "same_role_twice"),
        ([(H, "a\0b"), (G, "x")], "control_character"),
        ([(H, "a\x1bb"), (G, "x")], "control_character"),
        ([(S, "<bos>"), *GOOD], "control_token"),
    ],
)
def test_what_cannot_be_repaired(turns, reason):
    with pytest.raises(Rejection) as rejection:
        repair(turns, REPAIRS)
    assert rejection.value.reason == reason


@pytest.mark.parametrize("piece", [*CONTROL_PIECES, "<unused0>", "<unused6241>"])
@pytest.mark.parametrize("place", range(2))
def test_control_tokens_are_caught_in_every_turn(piece, place):
    turns = GOOD.copy()
    turns[place] = (GOOD[place][0], f"a {piece} b")
    with pytest.raises(Rejection) as rejection:
        repair(turns, REPAIRS)
    assert rejection.value.reason == "control_token" and piece in rejection.value.message


@pytest.mark.parametrize(
    "text",
    ["<b>bold</b>", "<unused>", "a < b > c", "[multi modal]", "<|im_start|>", "tab\tline\n."],
)
def test_what_only_looks_like_control_is_kept(text):
    assert repair([(H, text), (G, "x")], REPAIRS) == ([(H, text), (G, "x")], [])


@settings(derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([H, G, S, U]), st.text(max_size=6))))
def test_repaired_turns_are_valid_and_need_no_repair(turns):
    try:
        repaired, _ = repair(turns, REPAIRS)
    except Rejection:
        return
    roles = [role for role, _ in repaired if role != S]
    assert [G if role == U else role for role in roles] == [H, G] * (len(roles) // 2)
    assert G in roles
    assert repair(repaired, []) == (repaired, [])


# White space and what shows nothing: zero-width, joiners, marks of direction, fillers, selectors.
NOTHING_TO_SEE = (
    "\u200b \u200c \u200d \u200e \u2060 \u2063 \ufeff \u00a0 \u3000 \u2003 \u2028 \u00ad "
    "\ufe0f \ufe00 \u034f \u061c \u180e \u115f \u3164 \uffa0 \u2800 \U000e0100 \U000e0020"
).split(" ")


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b \ufeff\n", *NOTHING_TO_SEE])
@pytest.mark.parametrize("place", range(2))
def test_a_text_that_shows_nothing_is_empty(text, place):
    turns = GOOD.copy()
    turns[place] = (GOOD[place][0], text)
    with pytest.raises(Rejection, match=f"turn {place + 1} .* has no text") as rejection:
        repair(turns, REPAIRS)
    assert rejection.value.reason == "empty_turn"


@pytest.mark.parametrize(
    "text", ["\u2764\ufe0f", "می\u200cخواهم", "a\u200b", ".", "\u0301", "\u3164x"]
)
def test_a_text_with_something_to_see_keeps_every_character(text):
    assert repair([(H, "Hi"), (G, text)], REPAIRS) == ([(H, "Hi"), (G, text)], [])


@pytest.mark.parametrize("system", [[], [(S, "x")], [(S, "x"), (S, "y")]])
def test_system_texts_are_not_counted_as_turns(system):
    turns = [*system, *GOOD, (H, "a<eos>"), (G, "b")]
    with pytest.raises(Rejection, match=r"^turn 3 \(human\) holds <eos>"):
        repair(turns, REPAIRS)


@pytest.mark.parametrize("turns, name", [
    ([*GOOD, (H, "x"), (G, "")], "cut_at_empty"),
    ([(G, "x"), *GOOD], "drop_leading_assistant"),
])  # fmt: skip
def test_a_repair_that_loses_text_is_offered_by_name(turns, name):
    with pytest.raises(Rejection, match=f"`{name}` in data.repairs would"):
        repair(turns, [other for other in REPAIRS if other != name])
