"""The pretraining text: deterministic, and without anything of the assistant's task."""

import json
import random
from itertools import islice

import pytest

from gemma_finetune.base import corpus
from gemma_finetune.base.corpus_words import NUMBERS, number_words, say_time

SAMPLE = list(islice(corpus.conversations(0), 3000))


def test_the_same_seed_gives_the_same_text():
    assert list(islice(corpus.conversations(0), 50)) == SAMPLE[:50]
    assert list(islice(corpus.conversations(1), 50)) != SAMPLE[:50]


def test_no_request_is_answered_by_a_call():
    answers = [answer for turns in SAMPLE for _, answer in turns if answer.startswith("{")]
    assert answers and all(set(json.loads(answer)) == {"kind", "values"} for answer in answers)


def test_no_function_of_the_sample_is_named():
    functions = (
        "set_light set_brightness set_color set_heating set_blinds set_timer stop_timer "
        "set_alarm play_music set_volume stop_music add_item"
    ).split()
    texts = []
    for turns in SAMPLE:
        texts += [f"{request} {answer}" for request, answer in turns]
    said = " ".join(texts)
    assert "_" in said and not set(functions) & set(said.replace('"', " ").split())


def test_every_slot_of_every_pattern_can_be_drawn():
    rng = random.Random(0)
    for patterns in corpus.RECORDS.values():
        for pattern in patterns:
            text, values, _ = corpus.fill(pattern, rng)
            assert values and not set("{}()|") & set(text), pattern


def test_a_kind_has_its_keys_in_one_order_however_it_is_said():
    rng = random.Random(0)
    for kind, patterns in corpus.RECORDS.items():
        orders = set()
        for pattern in patterns:
            _, values, _ = corpus.fill(pattern, rng)
            orders.add(tuple(corpus.in_order(kind, values)))
        longest = max(orders, key=len)
        for order in orders:
            assert order == tuple(key for key in longest if key in order), (kind, orders)


@pytest.mark.parametrize(
    "number, words", [(0, "zero"), (7, "seven"), (21, "twenty one"), (180, "one hundred eighty")]
)
def test_number_words(number, words):
    assert number_words(number) == words


def test_times_are_said_without_doubt():
    said = {}
    for seed in range(3000):
        rng = random.Random(seed)
        time = NUMBERS["time"][0](rng)
        text = say_time(time, rng)
        assert said.setdefault(text, time) == time, text
