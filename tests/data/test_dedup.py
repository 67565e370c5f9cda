"""Which twin stays, what is said of the removed one, and that no twins are left."""

import json
import zlib
from itertools import combinations, cycle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data.dedup import features, find_twins, summarize
from gemma_finetune.data.evidence import (
    evidence_of,
    evidence_similarity,
)
from gemma_finetune.data.shared_text import (
    SharedText,
)

LONG = " ".join(f"word{n}" for n in range(100))
NOTHING_SHARED = SharedText(20, np.zeros(0, np.uint32))


@pytest.fixture(autouse=True, scope="module")
def _shared_text(nothing_shared):
    global SHARED_TEXT
    SHARED_TEXT = nothing_shared


def chat(text):
    """A row with one turn, or with those of "user | assistant | user | assistant"."""
    roles, said = cycle(("human", "gpt")), text.split(" | ")
    turns = [{"from": role, "value": part} for role, part in zip(roles, said, strict=False)]
    return {"id": f"{zlib.crc32(text.encode()):016x}", "conversations": turns}


def evidence(text):
    return evidence_of([chat(text)], NOTHING_SHARED)[0]


def index_of(texts, threshold=0.9, splits=None):
    lines = []
    for text, split in zip(texts, splits or [None] * len(texts), strict=True):
        lines.append(json.dumps(chat(text) | {"split": split}).encode())
    return features(lines, threshold, SHARED_TEXT)


def twins(texts, threshold=0.9, splits=None):
    index = index_of(texts, threshold, splits)
    twin, score = find_twins(index, lambda rows: [evidence(texts[row]) for row in rows], threshold)
    return twin.tolist(), score.round(3).tolist()


def test_different_texts_stay():
    assert twins(["set it to 20 degrees", "set it to 21 degrees", "good night"])[0] == [-1, -1, -1]


def test_of_equal_texts_the_first_stays():
    assert twins(["good night", "x", "Good  night", "good night"]) == ([-1, -1, 0, 0], [1.0] * 4)


@pytest.mark.parametrize("marks", [".,", ".", ","])
def test_a_text_without_its_marks_is_a_copy(marks):
    """As speech that was written down: without full stops it is one long sentence."""
    said = "We met, as planned. It rained. All came, but Ada. The plan was read. We agreed."
    bare = said.translate(dict.fromkeys(map(ord, marks)))
    assert twins([f"{said} | Yes, I see.", f"{bare.lower()} | Yes I see"]) == ([-1, 0], [1.0, 1.0])
    assert twins(["好，我去。你呢？ | 好！", "好我去你呢 | 好"])[0] == [-1, 0]
    assert twins(["Cook می\u200cروم | Yes", "\ufeffcook میروم | Y\u200bes"])[0] == [1, -1]
    assert twins(["a | ?!", "a | ..."])[0] == [-1, -1]  # marks are all that was said


@pytest.mark.parametrize("first, second", [
    ("几点？ | 3：20", "几点？ | 320"), ("比分？ | 3：2", "比分？ | 32"),
    ("计算1、2、3的和 | 6", "计算123的和 | 6"),
])  # fmt: skip
def test_marks_between_digits_are_part_of_a_number(first, second):
    assert twins([first, second])[0] == [-1, -1]


def test_of_near_twins_the_longest_stays():
    assert twins([LONG, f"{LONG} more", LONG.upper()]) == ([1, -1, 1], [0.99, 1.0, 0.99])


@pytest.mark.parametrize(
    "texts",
    [
        # Cut at another place
        ["The cat sat | on the mat.", "The cat sat on | the mat.", "The cat sat on the | mat."],
        ["Hi | Hello. | How are you? | Well.", "Hi Hello. How | are you? Well."],
        # Another order, or another number
        ["Smoke? | Yes. | Drink? | No.", "Smoke? | No. | Drink? | Yes."],
        ["Turn it:\n0 1 0\n1 1 1\n0 1 0 | up", "Turn it:\n1 1 1\n0 1 0\n0 1 0 | up"],
        [
            "Sort:\nfig\nkiwi\napple | apple, fig, kiwi",
            "Sort:\nkiwi\napple\nfig | apple, fig, kiwi",
        ],
        ["A: 2\nB: 1 | Winner: A. Loser: B.", "A: 1\nB: 2 | Winner: B. Loser: A."],
        ["A man sleeps.\nA man rests. | yes", "A man rests.\nA man sleeps. | yes"],
        ["Laugh | ha ha ha", "Laugh | ha ha ha ha ha"],
    ],
)
def test_the_same_words_in_other_places_are_no_twins(texts):
    assert twins(texts)[0] == [-1] * len(texts)


def test_rows_with_other_answers_trained_on_are_no_twins():
    """As an export writes them that has one row for each trained answer."""
    rows = [chat("a | b | c | d") for _ in range(3)]
    rows[0]["conversations"][1]["train"] = False
    rows[1]["conversations"][3]["train"] = False
    index = features([json.dumps(row).encode() for row in rows], 0.9, SHARED_TEXT)
    twin, _ = find_twins(
        index, lambda numbers: evidence_of([rows[n] for n in numbers], NOTHING_SHARED), 0.9
    )
    assert twin.tolist() == [-1, -1, -1]


def test_a_test_row_is_not_removed_for_a_training_row():
    texts = [f"{LONG} and more", LONG, f"{LONG} more"]
    assert twins(texts, splits=["train", "test", "validation"])[0] == [1, -1, 1]


def test_a_row_that_names_its_split_stays_before_one_that_does_not():
    assert twins([f"{LONG} more", LONG, LONG], splits=[None, None, "train"])[0] == [2, 2, -1]


def test_a_removed_row_is_a_twin_of_one_that_stays_not_of_a_chain():
    words = [f"word{n}" for n in range(110)]
    chain = [" ".join(words[start : start + 100]) + " !" * (9 - start) for start in (0, 3, 6)]
    twin, score = twins(chain)  # 0.94 from link to link, 0.88 from end to end
    assert twin == [-1, 0, -1] and score[1] == 0.941


def test_copies_of_a_row_that_goes_name_the_row_that_stays():
    assert twins([LONG, LONG, f"{LONG} more"])[0] == [2, 2, -1]


def test_threshold_of_one_removes_equal_shingles_only():
    assert twins([LONG, f"{LONG} more", LONG + "."], threshold=1.0)[0] == [2, -1, -1]


def test_no_rows():
    assert twins([])[0] == []


words = st.sampled_from("light heat room on off ten two a the".split())


@settings(derandomize=True, deadline=None)
@given(
    st.lists(st.lists(words, min_size=1, max_size=8).map(" ".join), max_size=30),
    st.sampled_from([0.5, 0.7, 0.9, 1.0]),
)
def test_every_removed_row_has_a_twin_that_stays_and_no_twins_are_left(texts, threshold):
    twin, score = twins(texts, threshold)
    sets = [evidence(text) for text in texts]
    for n, kept in enumerate(twin):
        if kept >= 0:
            assert twin[kept] == -1
            assert (
                score[n]
                == np.round(evidence_similarity(sets[n], sets[kept]), 3)
                >= round(threshold, 3)
            )
    staying = [n for n in range(len(texts)) if twin[n] < 0]
    for a, b in combinations(staying, 2):
        assert evidence_similarity(sets[a], sets[b]) < threshold


def test_rows_with_other_documents_in_their_system_texts_stay():
    """Their turns are the same."""
    rows = [chat("Is this a complaint? | Yes") | {"system": f"Letter {n}: {LONG}"} for n in "abb"]
    rows[1]["system"] = rows[1]["system"].replace("word", "thing")
    rows[2]["system"] = rows[1]["system"].upper()
    index = features([json.dumps(row).encode() for row in rows], 0.9, SHARED_TEXT)
    twin, _ = find_twins(
        index, lambda numbers: evidence_of([rows[n] for n in numbers], NOTHING_SHARED), 0.9
    )
    assert twin.tolist() == [-1, -1, 1]


def test_summary_counts_every_row_once_and_other_case_as_near():
    texts = ["good night", "Good night", LONG, f"{LONG} more", LONG, "x", "good night"]
    index = index_of(texts)
    twin, _ = find_twins(index, lambda rows: [evidence(texts[row]) for row in rows], 0.9)
    assert twin.tolist() == [-1, 0, 3, -1, 3, -1, 0]
    assert summarize(index, twin) == {
        "rows": 7, "kept": 3, "removed_exact": 1, "removed_near": 3, "most_removed_for_one": 2,
    }  # fmt: skip
    assert summarize(index, np.full(7, -1))["most_removed_for_one"] == 0
