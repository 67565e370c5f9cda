"""Flags, weights and masks of training, told by the words of a key and by its value."""

import pytest

from gemma_finetune.data.loss_mask import refuse_untrained_row, sense, wants_training
from gemma_finetune.data.rejection import Rejection

UNTRAINED = [
    {"is_training": False}, {"include_in_loss": False}, {"exclude_from_loss": True},
    {"excludeFromLoss": 1}, {"calc_loss": 0}, {"dont_train": True}, {"don't train": True},
    {"learn": False}, {"learnable": "false"}, {"no_grad": True}, {"requires_grad": False},
    {"skip_turn": True}, {"mask_out": True}, {"mask_response": True}, {"use-in-training": False},
    {"do not learn": True}, {"untrained": True}, {"loss_multiplier": 0}, {"train_mask": 0},
    {"assistant_mask": 0}, {"unmasked": False}, {"not_trained": True}, {"context_only": True},
    {"contributesToLoss": False},
]  # fmt: skip


@pytest.mark.parametrize("extra", UNTRAINED)
def test_a_flag_that_says_not_to_train(extra):
    assert wants_training(extra) is False
    with pytest.raises(Rejection, match="it is not to be trained on") as rejection:
        refuse_untrained_row(extra, answers=2)
    assert rejection.value.reason == "untrained"


@pytest.mark.parametrize("extra", [
    {"is_training": True}, {"include_in_loss": 1}, {"exclude_from_loss": False}, {"not_masked": 1},
    {"dont_train": False}, {"assistant_mask": 1}, {"loss_scale": 1.0},
])  # fmt: skip
def test_a_flag_that_says_to_train(extra):
    assert wants_training(extra) is True
    refuse_untrained_row(extra, answers=2)


@pytest.mark.parametrize("extra", [
    {"masks": [0, 1]}, {"train_mask": [0, 1]}, {"assistant_mask": [0, 1]}, {"turn_weights": [0, 2]},
    {"train_on_turns": [False]}, {"trainable_turns": [1, 3]}, {"completion_mask": [0, 1, 1]},
    {"assistant_masks": [[0, 1], [1]]}, {"labels": [-100, 1]}, {"labels": "[-100, 5]"},
    {"target_ids": [-100, 2]}, {"mask": "0, 1, 1"}, {"loss_spans": [[0, 5]]},
    {"prompt_mask": [1, 0]},    {"loss_flags": [0, 1]}, {"turn_weight": 0.5},
])  # fmt: skip
def test_a_mask_that_cannot_be_honoured(extra):
    (key,) = extra
    for check, of in ((wants_training, {}), (refuse_untrained_row, {"answers": 2})):
        with pytest.raises(Rejection, match=f"has `{key}` .*cannot be honoured") as rejection:
            check(extra, **of)
        assert rejection.value.reason == "weight"


@pytest.mark.parametrize("extra", [
    {"train_id": 0}, {"loss": 0.43}, {"loss": [1.2, 0.9]}, {"loss": [0.4, 0.9]},
    {"eval_loss": 0}, {"learning_objective": "To greet"}, {"mask_name": "foo"},
    {"attention_mask": [1, 0]}, {"special_tokens_mask": [0, 1]}, {"labels": [3, 5]},
    {"training_sample": 0}, {"skipped_turns": 1}, {"train_tokens": 0}, {"target_weight": 65.5},
    {"no_answer": True}, {"scale": 0.5}, {"scale_factor": 0.5}, {"mask": "[MASK]"},
    {"train_on_prompt": False}, {"mask_user": True}, {"loss_count": 0}, {"weights_file": "a b"},
    {"ignore_case": True}, {"model_weights": "a b"}, {"temperatures": [-100, 4]},
    {"finetuned": False}, {"fine_tuned": 0}, {"sft_model": False}, {"bot_tuned": False},
    {"skipped_turns": "[nan]"}, {"train_turns": "inf"},
])  # fmt: skip
def test_metadata_says_nothing(extra):
    refuse_untrained_row(extra, answers=2)
    if "mask" not in extra and not isinstance(extra.get("loss"), list):  # unclear in a turn
        assert wants_training(extra) is None


def test_a_measured_loss_of_a_row_is_no_flag():
    refuse_untrained_row({"loss": 0.0, "train_loss": 0.0}, answers=2)
    assert wants_training({"train_loss": 0.0}) is None
    assert wants_training({"loss": 0.0}) is False  # of a turn: 0 as a table has it


@pytest.mark.parametrize("extra", [
    {"mask_history": True}, {"train_on_last_turn_only": "true"}, {"last_turn_only": True},
    {"only_last_turn_loss": True}, {"trainable_turns": "last"}, {"loss_on": "last_turn"},
])  # fmt: skip
def test_a_row_of_which_the_last_answer_alone_is_trained_on_is_refused(extra):
    with pytest.raises(Rejection, match="write `weight` 0 or 1 into each turn"):
        refuse_untrained_row(extra, answers=2)


def test_the_last_answer_of_one_is_all_of_them():
    refuse_untrained_row({"last_turn_only": True, "mask_history": True}, answers=1)


def test_a_row_about_its_last_turn_says_nothing():
    for extra in (
        {"no_history": True}, {"train": "final.jsonl"}, {"weights": "final checkpoint"},
        {"mask_history": False}, {"train_on_history": True}, {"last_turn": True},
        {"last_trained": "2024-01-02"}, {"final_loss": 0.2}, {"history": "none"},
    ):  # fmt: skip
        refuse_untrained_row(extra, answers=2)


def test_training_on_questions_is_refused():
    with pytest.raises(Rejection, match="only answers are trained on"):
        refuse_untrained_row({"train_on_prompt": True}, answers=2)


@pytest.mark.parametrize("key", [
    "train_id", "learning_objective", "mask_name", "analysis_date", "source", "category",
    "difficulty", "model", "label", "target", "status", "include", "turn", "response",
])  # fmt: skip
def test_a_key_with_another_word_says_nothing(key):
    assert sense(key) is None
