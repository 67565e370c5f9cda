import pytest
from gemma_finetune.evaluation.liveness import Answer, faults, liveness


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer('{"name": "set_light"}', stopped=True, turn=1), []),
        (
            Answer("Yes, yes, yes, yes, yes.", stopped=True, turn=1),
            [],
        ),  # ended by itself: a matter of taste
        (Answer(" \n", stopped=True, turn=1), ["empty"]),
        (Answer("", stopped=True, turn=2), ["empty_follow_up"]),
        (Answer("Once upon a time there was", stopped=False, turn=1), ["unstopped"]),
        (Answer("Fine.<end_of_turn>", stopped=True, turn=1), ["special_token"]),
        (Answer("<eos>", stopped=True, turn=1), ["special_token"]),
        (Answer("I do " + "la la " * 8, stopped=False, turn=1), ["unstopped", "repeating"]),
        (Answer("x" * 90, stopped=False, turn=1), ["unstopped", "repeating"]),
    ],
)
def test_faults(answer, expected):
    assert faults(answer) == expected


def test_liveness_counts_answers_once_and_faults_each():
    answers = [Answer("ok", True, 1), Answer("x" * 90, False, 1), Answer("<pad>", True, 2)]
    assert liveness(answers) == {
        "faulty": 2,
        "empty": 0,
        "empty_follow_up": 0,
        "unstopped": 1,
        "special_token": 1,
        "repeating": 1,
    }


def test_a_long_answer_is_searched_in_no_time():
    assert (
        faults(Answer("".join(chr(97 + i * i % 23) for i in range(20_000)), stopped=True, turn=1))
        == []
    )
