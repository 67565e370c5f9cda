"""The shingles of one text as a set: the plain form of what the package computes for many."""

from gemma_finetune.data.shingles import shingle_hashes


def shingle_set(text: str) -> frozenset[int]:
    """The hashes of one text's shingles."""
    hashes, _ = shingle_hashes([text])
    return frozenset(hashes.tolist())


def similarity(a: frozenset[int], b: frozenset[int]) -> float:
    """Jaccard similarity of two sets of shingles: 1 for equal sets, 0 for disjoint ones."""
    common = len(a & b)
    return common / (len(a) + len(b) - common)
