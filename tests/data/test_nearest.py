"""The highest similarity to training, against comparing every pair."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data import nearest
from gemma_finetune.data.nearest import build_index, nearest_similarity
from gemma_finetune.data.shingles import shingle_hashes, shingle_set, similarity

words = st.lists(st.sampled_from("light heat room on off ten two a".split()), max_size=8).map(
    " ".join
)
texts = st.lists(words, min_size=1)


def rows(texts):
    return [{"conversations": [{"from": "human", "value": text}]} for text in texts]


def index(texts):
    return build_index(tuple(json.dumps(row).encode() for row in rows(texts)))


@settings(derandomize=True, deadline=None)
@given(texts, st.lists(st.tuples(words, st.booleans()), min_size=1), st.sampled_from([5, 1 << 22]))
def test_equals_comparing_every_pair(held_out, others, most):
    nearest.MOST_PAIRS = most
    train = [text for text, trained in others if trained]
    expected = [
        max((similarity(shingle_set(a), shingle_set(b)) for b in train), default=0)
        for a in held_out
    ]
    shingles = shingle_hashes([text for text, _ in others])
    trained = np.array([trained for _, trained in others])
    assert nearest_similarity(*shingles, trained, index(held_out)).tolist() == expected


def test_chunks_of_training_rows_add_up():
    held_out = index(["turn on the light", "good night to you"])
    texts = "turn on the radio", "good night to you", "x"
    parts = [
        nearest_similarity(*shingle_hashes([text]), np.array([True]), held_out) for text in texts
    ]
    assert np.maximum.reduce(parts).tolist() == [pytest.approx(1 / 3), 1.0]
