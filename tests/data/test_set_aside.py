"""Marks of people who checked a row or an answer."""

import pytest

from gemma_finetune.data.set_aside import is_marked_bad


@pytest.mark.parametrize("key, value", [
    ("deleted", True), ("is_correct", False), ("Status", "Discarded"), ("was_cancelled", "True"),
    ("accepted", "no"), ("response_status", "rejected"), ("review_status", "rejected"),
    ("quality.responses.status", ["discarded"]), ("do_not_use", True), ("isDeleted", True),
    ("Is-Correct", "no"),
])  # fmt: skip
def test_what_people_set_aside(key, value):
    assert is_marked_bad(key, value)


@pytest.mark.parametrize("key, value", [
    ("Keep", True), ("deleted", False), ("status", "submitted"), ("is_correct", "yes"),
    ("quality.responses.status", ["submitted", "discarded"]), ("delete", False), ("deleted", 1),
    ("status", "deleted"),
])  # fmt: skip
def test_what_people_kept(key, value):
    assert not is_marked_bad(key, value)
