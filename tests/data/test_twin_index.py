"""Every pair at the threshold is a candidate, but not every pair of rows that share a template."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data import twin_index
from gemma_finetune.data.evidence import (
    evidence_of,
    evidence_similarity,
)
from gemma_finetune.data.shared_text import (
    SharedText,
)
from gemma_finetune.data.twin_index import TwinIndex

NOTHING_SHARED = SharedText(20, np.zeros(0, np.uint32))


def evidence(text):
    row = {"conversations": [{"from": "human", "value": text}]}
    return evidence_of([row], NOTHING_SHARED)[0]


words = st.lists(st.sampled_from("light heat room on off ten".split()), max_size=10).map(" ".join)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.lists(words, max_size=15),
    st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]),
    st.randoms(use_true_random=False),
)
def test_no_pair_at_the_threshold_is_missed(texts, threshold, random):
    sets = [evidence(text) for text in texts]
    rows = list(range(len(texts)))
    random.shuffle(rows)
    index = TwinIndex(rows, lambda rows: [sets[n] for n in rows], threshold)
    found = list(index)
    assert [row for row, _ in found] == rows
    for number, (row, candidates) in enumerate(found):
        earlier = rows[:number]
        assert set(candidates.tolist()) <= set(earlier)
        for other in earlier:
            expected = evidence_similarity(sets[row], sets[other])
            as_found = index.similarity(row, other)
            # Below the threshold it may be that of the words alone, in any order.
            assert as_found == expected or expected < as_found < threshold
            assert expected < threshold or other in candidates


@pytest.mark.parametrize("own", [8, 30])
def test_rows_that_a_long_template_makes_alike_are_not_compared(own):
    """To compare all pairs of 2,000 rows of one template took 86 seconds."""
    template = [f"word{n}" for n in range(100)]
    texts = []
    for n in range(300):
        texts.append(" ".join(template + [f"own{n}x{k}" for k in range(own)]))
    sets = [evidence(text) for text in texts]
    assert evidence_similarity(sets[0], sets[1]) > 0.6
    index = TwinIndex(list(range(300)), lambda rows: [sets[n] for n in rows], 0.9)
    assert sum(len(candidates) for _, candidates in index) == 0


def test_rows_that_are_not_compared_with_all_look_alikes_are_counted(monkeypatch, capsys):
    monkeypatch.setattr(twin_index, "COMPARED", 2)
    index = TwinIndex(list(range(4)), lambda rows: [evidence("a b c") for _ in rows], 0.9)
    counts = [len(index.similarities(row, candidates)) for row, candidates in index]
    assert counts == [0, 1, 2, 2]
    assert capsys.readouterr().out.startswith("1 rows have the words of over 2 others")
