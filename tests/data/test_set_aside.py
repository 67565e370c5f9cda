"""Marks of people who checked a row or an answer."""

import pytest

from gemma_finetune.data.set_aside import is_marked_bad


@pytest.mark.parametrize("key, value", [
    ("deleted", True), ("is_correct", False), ("Status", "Discarded"), ("was_cancelled", "True"),
    ("accepted", "no"), ("response_status", "rejected"), ("review_status", "rejected"),
    ("quality.responses.status", ["discarded"]), ("do_not_use", True), ("isDeleted", True),
    ("Is-Correct", "no"), ("is_deleted", 1), ("was_cancelled", "1"), ("is_correct", 0.0),
    ("incorrect", True), ("is_wrong", "yes"), ("prodigy_answer", "reject"),
])  # fmt: skip
def test_what_people_set_aside(key, value):
    assert is_marked_bad(key, value)


@pytest.mark.parametrize("key, value", [
    ("Keep", True), ("deleted", False), ("status", "submitted"), ("is_correct", "yes"),
    ("quality.responses.status", ["submitted", "discarded"]), ("delete", False), ("deleted", 1),
    ("status", "deleted"), ("is_valid", 0), ("correct", 0), ("is_deleted", 0), ("wrong", False),
    ("prodigy_answer", "accept"),
])  # fmt: skip
def test_what_people_kept(key, value):
    assert not is_marked_bad(key, value)
