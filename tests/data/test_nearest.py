"""The highest similarity to training, against comparing every pair."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data.nearest import build_index, nearest_similarity
from gemma_finetune.data.shingles import shingle_set, similarity

texts = st.lists(
    st.lists(st.sampled_from("light heat room on off ten two a".split()), max_size=8).map(" ".join), min_size=1
)


def rows(texts):
    return [{"conversations": [{"from": "human", "value": text}]} for text in texts]


def lines(texts):
    return [json.dumps(row).encode() for row in rows(texts)]


@settings(derandomize=True, deadline=None)
@given(texts, texts)
def test_equals_comparing_every_pair(held_out, train):
    expected = [max(similarity(shingle_set(a), shingle_set(b)) for b in train) for a in held_out]
    assert nearest_similarity(lines(train), build_index(rows(held_out))).tolist() == expected


def test_chunks_of_training_rows_add_up():
    index = build_index(rows(["turn on the light", "good night to you"]))
    parts = [nearest_similarity(lines([text]), index) for text in ("turn on the radio", "good night to you", "x")]
    assert np.maximum.reduce(parts).tolist() == [pytest.approx(1 / 3), 1.0]
