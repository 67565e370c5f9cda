"""Second answers, and answers that people did not like."""

import pytest

from gemma_finetune.data.preferences import is_disliked, is_second_answer


@pytest.mark.parametrize("key", [
    "chosen", "Rejected", "chosen_response", "rejectedResponses", "response_rejected", "response_b",
    "responseB", "response_2", "output2", "second_response", "bad_output", "worse_answer",
    "non_preferred_output", "wrong_answer", "losing_completion", "unchosen", "chosen_messages",
    "corrected_response", "edited-answer", "conversation_b",
])  # fmt: skip
def test_a_second_answer(key):
    assert is_second_answer(key, "A cat") and is_second_answer(key, ["a"])
    assert not is_second_answer(key, 3) and not is_second_answer(key, False)


@pytest.mark.parametrize("key", [
    "response", "chosen_model", "chosen_rating", "better_response_id", "preferred_language",
    "response_model", "correct_answer", "reference_answer", "answers", "bad_words", "text_b",
    "conversation_id", "edited_by",
])  # fmt: skip
def test_no_second_answer(key):
    assert not is_second_answer(key, "a b")


def test_a_word_under_a_key_of_edits_or_conversations_is_no_answer():
    assert not is_second_answer("corrected_response", "2026-01-02")
    assert not is_second_answer("conversation_1", "c1")


@pytest.mark.parametrize("extra", [
    {"desired": False}, {"desirable": "false"}, {"preference": "rejected"}, {"preference": 0},
    {"is_preferred": False}, {"thumbs_down": True}, {"thumbsUp": False}, {"kto_label": 0},
    {"rejected": True}, {"is_rejected": 1}, {"disliked": "yes"}, {"feedback": "Thumbs down"},
    {"bad": True}, {"chosen": False}, {"upvote": False}, {"label": "undesirable"},
    {"thumbs": "down"}, {"vote": -1}, {"feedback": "👎"}, {"like": False}, {"dislike": True},
    {"feedback": {"rating": "thumbsDown", "text": "Wrong."}}, {"vote": "down"},
    {"feedback": {"label": 0}}, {"feedback": [{"rating": "thumbsDown"}, {"label": False}]},
    {"reaction": ["👎"]}, {"feedback": ["thumbs_down", "downvote"]},
])  # fmt: skip
def test_an_answer_that_people_did_not_like(extra):
    assert all(is_disliked(key, value) for key, value in extra.items())


@pytest.mark.parametrize("extra", [
    {"preference": "vegetarian"}, {"preference": 1}, {"desired": True}, {"thumbs_up": 0},
    {"feedback": "Nice"}, {"rating": 0}, {"rejected": False}, {"rejection_reason": "rejected"},
    {"status": "rejected"}, {"desired_outcome": "no"}, {"bad_words": True}, {"label": "greeting"},
    {"thumbs": "up"}, {"label": -1}, {"likes": 0}, {"feedback": {"rating": 1}}, {"score": -1},
    {"rating": -1}, {"feedback": []}, {"feedback": [{"rating": "thumbsDown"}, {"rating": "up"}]},
    {"feedback": ["down", "slow", 3, None]}, {"label": [0, 0]}, {"preference": ["rejected"]},
])  # fmt: skip
def test_no_dislike(extra):
    assert not any(is_disliked(key, value) for key, value in extra.items())
