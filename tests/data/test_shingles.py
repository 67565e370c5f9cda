"""What makes two conversations alike, and what keeps them apart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.data.shingles import (
    ASCII_WORD,
    WORD,
    shingle_hashes,
    words,
)
from shingle_sets import shingle_set, similarity


def alike(a, b):
    return similarity(shingle_set(a), shingle_set(b))


@pytest.mark.parametrize("a, b", [
    ("Turn on the light!", "turn on  the LIGHT"),
    ('{"room": "kitchen", "on": true}', "{'room': 'kitchen', 'on': true,}"),
    ("\uff34urn on the light", "Turn on the light"),
    ("Don't do that now.", "don\u2019t do that now"),
    ("\ufeffI \u2764 the\u200b sea", "I \u2764\ufe0f the sea"),
])  # fmt: skip
def test_case_width_and_punctuation_do_not_count(a, b):
    assert alike(a, b) == 1


@pytest.mark.parametrize("a, b", [
    ("set it to 20 degrees", "set it to 21 degrees"),
    ("set it to 5 degrees", "set it to -5 degrees"),
    ("is 5 < 3 or not", "is 5 > 3 or not"),
    ("we use C++ at work", "we use C# at work"),
    ("今日は天気がいい", "今日は天気が悪い"),
])  # fmt: skip
def test_values_numbers_and_symbols_count(a, b):
    assert alike(a, b) < 0.9


def test_a_changed_word_in_a_long_text_leaves_it_a_near_twin():
    text = [f"word{n}" for n in range(200)]
    assert alike(" ".join(text), " ".join([*text[:100], "other", *text[101:]])) == pytest.approx(
        195 / 201
    )


def test_scripts_without_spaces_count_by_character():
    assert words("東京へ行く") == list("東京へ行く")


@pytest.mark.parametrize("text", ["", "one", "one two", "...", "one two three"])
def test_a_short_text_has_one_shingle(text):
    assert len(shingle_set(text)) == 1


def test_texts_of_a_chunk_do_not_run_into_each_other():
    texts = ["a b c d", "", "e f g h i", "a b c d"]
    flat, offsets = shingle_hashes(texts)
    parts = [set(part.tolist()) for part in np.split(flat, offsets[1:-1])]
    assert parts == [set(shingle_set(text)) for text in texts]


@settings(derandomize=True, deadline=None)
@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_the_pattern_for_ascii_finds_the_same_words(text):
    assert ASCII_WORD.findall(text.lower()) == WORD.findall(text.casefold())
