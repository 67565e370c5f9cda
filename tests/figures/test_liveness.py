import pytest

from gemma_finetune.figures.liveness import Answer, count_faults, faults


def answer(text, stopped=True, first=True, tokens=90, reference_tokens=60, foretold=None):
    return Answer(text, tokens, stopped, first, reference_tokens, foretold)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (answer('{"name": "set_light"}'), []),
        (answer("Yes, yes, yes, yes, yes."), []),  # ended by itself: a matter of taste
        (answer(" \n"), ["empty"]),
        (answer("", first=False), ["empty_follow_up"]),
        (answer("Fine.<end_of_turn>"), ["special_token"]),
        (answer("<eos>"), ["special_token"]),
        # Cut off is no fault by itself: the limit may be too low.
        (answer("Once upon a time there was", stopped=False), []),
        (answer("Once upon a time there was", stopped=False, reference_tokens=23), []),
        # The reference ends sooner by far.
        (answer("Once upon a time there was", stopped=False, reference_tokens=22), ["unstopped"]),
        # The same model's logits foretell a stop, or a stop after the limit.
        (answer("Once upon a time there was", stopped=False, foretold=90), ["unstopped"]),
        (answer("Once upon a time there was", stopped=False, foretold=91), []),
        (answer("I do " + "la la " * 8, stopped=False), ["repeating"]),
        (answer("x" * 90, stopped=False, foretold=8), ["unstopped", "repeating"]),
    ],
)
def test_faults(given, expected):
    assert faults(given) == expected


def test_each_fault_is_counted():
    answers = [answer("ok"), answer("x" * 90, stopped=False), answer("<pad>", first=False)]
    assert count_faults(answers) == {
        "empty": 0,
        "empty_follow_up": 0,
        "unstopped": 0,
        "special_token": 1,
        "repeating": 1,
    }


def test_a_long_answer_is_searched_in_no_time():
    assert faults(answer("".join(chr(97 + i * i % 23) for i in range(20_000)))) == []
