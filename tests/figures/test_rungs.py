"""What was measured into figures: means, changes against merged, and what is wrong with answers."""

import numpy as np
import pytest

from gemma_finetune.figures.choose import choose
from gemma_finetune.figures.rungs import Turns, all_rungs

CALLS = ['{"on": 1}', '{"on": 2}', '{"on": 3}', '{"on": 4}']
TURNS = Turns(
    [
        {"conversation": "a", "place": 0, "reference": CALLS[0], "tokens": 5, "asked": True},
        {"conversation": "a", "place": 1, "reference": CALLS[1], "tokens": 5, "asked": True},
        {"conversation": "b", "place": 0, "reference": CALLS[2], "tokens": 5, "asked": True},
        {"conversation": "c", "place": 0, "reference": CALLS[3], "tokens": 5, "asked": False},
    ]
)


def records(texts, tokens=5, stopped=True):
    return [{"text": text, "tokens": tokens, "stopped": stopped} for text in texts]


def logits(exact, **more):
    """A rung with logits, which foretell that every answer ends after five tokens."""
    figures = {"loss": 0.1, "kl": 0.0, "bytes": 10}
    return {"figures": figures, "exact": exact, "foretold": [5, 5, 5]} | more


def bundle(answers, agrees=(True, True, True), follow_ups=()):
    return {
        "figures": {"bytes": 20},
        "sha256": "digest",
        "answers": answers,
        "agrees": list(agrees),
        "follow_ups": list(follow_ups),
    }


def figures(answers=None, **changes):
    """{rung: its figures}, for a merged model that is right in all but the first turn."""
    measured = {
        "merged": logits([False, True, True, True], answers=records(["no", *CALLS[1:3]])),
        "tflite_int8": logits([True, False, True, True]),
        "task_int8": bundle(answers or records(["no", *CALLS[1:3]]), **changes),
    }
    return all_rungs(measured, TURNS, choose("json", ()))


def test_a_rung_with_logits_is_judged_on_every_turn():
    found = figures()["tflite_int8"]
    assert (found["exact_match"], found["exact_match_change"]) == (0.75, 0.0)
    assert found["exact_match_low"] <= 0.75 <= found["exact_match_high"]
    assert "json_equal" not in found and "answer_length" not in found


def test_a_bundle_is_judged_on_the_turns_that_it_was_asked():
    found = figures(records([CALLS[0], '{"on":2.0}', CALLS[0]]))["task_int8"]
    assert (found["exact_match"], found["json_equal"], found["json_parsed"]) == (1 / 3, 2 / 3, 1)
    assert found["exact_match_change"] == pytest.approx(1 / 3 - 2 / 3)  # merged, by its logits
    assert found["json_equal_change"] == 0
    assert found["answer_length"] == pytest.approx(np.mean([9, 10, 9]))
    assert (found["loss"], found["bytes"], found["sha256"]) == (0.1, 20, "digest")


def test_the_merged_model_is_not_compared_with_itself():
    found = figures()["merged"]
    assert (found["exact_match"], found["json_equal"]) == (0.75, 2 / 3)
    assert not [name for name in found if "change" in name]


def test_a_model_that_never_ends_is_faulty_and_a_low_limit_is_not():
    endless = figures(records(["x y z"] * 3, tokens=20, stopped=False))["task_int8"]
    assert (endless["faulty_answers"], endless["faults"]["unstopped"]) == (1, 3)
    cut = figures(records(["x y z"] * 3, tokens=4, stopped=False))["task_int8"]
    assert (cut["faulty_answers"], cut["cut_off"]) == (0, 1)


def test_follow_ups_count_as_answers_and_are_compared_where_the_chat_went_as_expected():
    second = {"text": "", "tokens": 1, "stopped": True, "turn": 1}
    found = figures(follow_ups=[second | {"same": True}])["task_int8"]
    assert found["follow_up_agreement"] == 1
    assert (found["faulty_answers"], found["faults"]["empty_follow_up"]) == (1 / 4, 1)
    elsewhere = figures(follow_ups=[second | {"same": None}])["task_int8"]
    assert "follow_up_agreement" not in elsewhere


def test_agreement_has_an_interval():
    found = figures(agrees=(True, False, True))["task_int8"]
    assert found["runtime_agreement"] == pytest.approx(2 / 3)
    assert found["runtime_agreement_low"] < 2 / 3 < found["runtime_agreement_high"]
