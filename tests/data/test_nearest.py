"""The highest similarity to training, checked against a comparison of all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data.nearest import index_held_out, nearest_similarity
from shingle_sets import shingle_set, similarity

words = st.sampled_from("light heat room on off ten two a".split())
texts = st.lists(st.lists(words, max_size=8).map(" ".join), min_size=1)


def compare_all_pairs(train, held_out):
    train_sets = [shingle_set(text) for text in train]
    nearest = []
    for text in held_out:
        shingles = shingle_set(text)
        nearest.append(max(similarity(shingles, other) for other in train_sets))
    return nearest


@settings(derandomize=True, deadline=None)
@given(train=texts, held_out=texts)
def test_equals_a_comparison_of_all_pairs(train, held_out):
    nearest = nearest_similarity(train, index_held_out(held_out))
    assert nearest.tolist() == compare_all_pairs(train, held_out)


@settings(derandomize=True, deadline=None)
@given(train=st.lists(st.text(), min_size=1), held_out=st.lists(st.text(), min_size=1))
def test_any_text_has_a_nearest_row(train, held_out):
    nearest = nearest_similarity(train, index_held_out(held_out))
    assert nearest.tolist() == compare_all_pairs(train, held_out)


def test_chunks_of_training_rows_add_up():
    held_out = index_held_out(["turn on the light", "good night to you"])
    train = ["turn on the radio", "good night to you", "x"]
    parts = [nearest_similarity([text], held_out) for text in train]
    assert np.maximum.reduce(parts).tolist() == [pytest.approx(1 / 3), 1.0]


def test_rows_that_share_nothing_have_similarity_zero():
    held_out = index_held_out(["turn on the light", ""])
    assert nearest_similarity(["good night to you"], held_out).tolist() == [0.0, 0.0]


def test_a_shingle_that_occurs_twice_counts_once():
    held_out = index_held_out(["on and on and on and on"])
    assert nearest_similarity(["on and on and on"], held_out).tolist() == [1.0]
