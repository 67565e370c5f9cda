"""Keys are split into words, however they are written."""

import pytest

from gemma_finetune.data.key_words import singular, words


@pytest.mark.parametrize("key", [
    "loss_mask", "lossMask", "LossMask", "LOSS_MASK", "loss-mask", "Loss Mask", "loss.mask",
    " loss mask ", "lossmask", "loss__mask",
])  # fmt: skip
def test_one_key_in_many_spellings(key):
    assert words(key) == ("loss", "mask")


@pytest.mark.parametrize("key, expected", [
    ("text2", ("text", "2")), ("optA", ("opt", "a")), ("responseB", ("response", "b")),
    ("HTMLText", ("html", "text")), ("Complex_CoT", ("complex", "cot")),
    ("don't train", ("dont", "train")), ("Überschrift", ("überschrift",)), ("思考", ("思考",)),
    ("training", ("training",)), ("", ()), ("?!", ()),
])  # fmt: skip
def test_words_of_a_key(key, expected):
    assert words(key) == expected


@pytest.mark.parametrize("word, expected", [
    ("docs", "doc"), ("choices", "choice"), ("analysis", "analysis"), ("news", "news"),
    ("previous", "previous"), ("class", "class"), ("ids", "ids"),
])  # fmt: skip
def test_the_singular_of_a_word(word, expected):
    assert singular(word) == expected
