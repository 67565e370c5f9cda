"""Conversations, and how similar they are: for the tests of what counts as a copy."""

import numpy as np

from gemma_finetune.data.evidence import evidence_of, evidence_similarity
from gemma_finetune.data.shared_text import (
    SharedText,
    SharedTextCounter,
    countable,
    split_sentences,
)

NOTHING_SHARED = SharedText(20, np.zeros(0, np.uint32))
INSTRUCTION = " ".join(f"word{n}" for n in range(200)) + "."
SENTENCES = [f"The house has thing{n} and part{n} in room{n} of floor{n}." for n in range(14)]


def chat(question, answer="ok", system=None):
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"conversations": turns} | ({"system": system} if system else {})


def shared_text(conversations):
    sentences = split_sentences(conversations)
    counter = SharedTextCounter(words=len(sentences.shingles))
    counter.add(countable(sentences, counter.bits)[0])
    return counter.shared()


def most_similar(conversations):
    """The highest similarity of any two of these rows, which are the whole data."""
    shared = shared_text(conversations)
    found = evidence_of(conversations, shared)
    pairs = [(a, b) for n, a in enumerate(found) for b in found[:n]]
    return max(evidence_similarity(a, b) for a, b in pairs)


def similarity(a, b, shared=NOTHING_SHARED):
    return evidence_similarity(*evidence_of([a, b], shared))
