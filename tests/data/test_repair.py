"""What is repaired, what is counted, and what is rejected."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.config import CONTROL_PIECES
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.repair import REPAIRS, repair

H, G, S = "human", "gpt", "system"
GOOD = [(H, "Hi"), (G, "Hello")]


@pytest.mark.parametrize(
    "turns, repaired, repairs",
    [
        (GOOD, GOOD, []),
        ([(H, " Hi\n"), (G, "Hello")], GOOD, ["trim"]),
        ([(H, "a"), (H, "b"), (G, "c"), (G, "d")], [(H, "a\n\nb"), (G, "c\n\nd")], ["merge_turns"]),
        ([*GOOD, (H, "Bye")], GOOD, ["drop_trailing_user"]),
        ([*GOOD, (H, "a "), (H, "b")], GOOD, list(REPAIRS)),
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
        ([(G, "x"), (H, "y")], "starts_with_gpt"),
        ([(H, "x"), (S, "y"), (G, "z")], "system_inside"),
        ([(S, "x"), (S, "y"), *GOOD], "system_inside"),
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
@given(st.lists(st.tuples(st.sampled_from([H, G, S]), st.text(max_size=6))))
def test_repaired_turns_are_valid_and_need_no_repair(turns):
    try:
        repaired, _ = repair(turns, REPAIRS)
    except Rejection:
        return
    roles = [role for role, _ in repaired if role != S]
    assert roles == [H, G] * (len(roles) // 2) and roles
    assert repair(repaired, []) == (repaired, [])
