"""What of a conversation is evidence that it is a copy of another one, and how similar two are by it.

Questions and answers are compared apart, and two conversations are as similar as the less similar of
the two: the same question with another answer is no duplicate. Text that many rows share is no
evidence: an instruction before every question, a signature after every answer, the frame of a
template. So what is compared is twice two sets of shingles:

    whole     all shingles of a side
    evidence  the same without shared sentences, and of a sentence that is a frame only what fills it

Where nothing but shared text is left on both sides, as in answers that are class labels, the whole
sides are compared. Shingles are taken within sentences, so a shared sentence leaves no trace in its
neighbours. System texts are left out.
"""

import re
import unicodedata
from itertools import chain
from typing import NamedTuple

import numpy as np
from rensa import RMinHash

from gemma_finetune.data.shingles import _WORD as WORD
from gemma_finetune.data.shingles import WORDS_PER_SHINGLE, similarity

SHARED_BY = 10  # rows; text in more of them than this is shared text
LONG_SENTENCE = 8  # words; shorter sentences are never shared text: everybody says "thank you"
FRAME = 12  # shingles; a sentence of at least so many is a frame ...
FRAME_SHARE = 0.8  # ... where at least so many of them are shared

SIDES = ("human", "gpt")

END = "\n"
ENDS = frozenset(".!?:;\n。")
_TOKEN = re.compile(rf"{WORD.pattern}|[.!?:;](?=\s)|[\n。]")
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SIDE = np.array([0, 0xA5A5A5A55A5A5A5A], np.uint64)  # makes the same words on two sides differ


class Sentences(NamedTuple):
    """The sentences of a chunk of conversations as shingle hashes.

    shingles: uint64 (shingles,), those of one sentence after those of another.
    starts: int64 (sentences + 1,), where the shingles of each sentence begin, and the end of all.
    words: int32 (sentences,), how many words a sentence has.
    rows: int32 (sentences,), the conversation a sentence is in.
    sides: int8 (sentences,), its place in SIDES.
    """

    shingles: np.ndarray
    starts: np.ndarray
    words: np.ndarray
    rows: np.ndarray
    sides: np.ndarray

    def hashes(self) -> np.ndarray:
        """A hash of each whole sentence, uint64 (sentences,)."""
        if not len(self.words):
            return np.zeros(0, np.uint64)
        return np.add.reduceat(self.shingles * _MIX, self.starts[:-1]) ^ _MIX


def split_sentences(conversations: list[dict]) -> Sentences:
    """The sentences of canonical conversations."""
    # Per conversation its tokens, words and sentence ends; each turn ends with one.
    tokens: list[list[str]] = []
    turn_lengths, turn_sides = [], []
    for conversation in conversations:
        found: list[str] = []
        for turn in conversation["conversations"]:
            before = len(found)
            found += tokenize(turn["value"])
            found.append(END)
            turn_lengths.append(len(found) - before)
            turn_sides.append(SIDES.index(turn["from"]))
        tokens.append(found)

    # Flat arrays over the tokens of all conversations, (tokens,).
    hashes = np.fromiter(chain.from_iterable(RMinHash.hash_token_sets(tokens)), np.uint64)
    is_end = np.fromiter((token[0] in ENDS for token in chain.from_iterable(tokens)), bool, len(hashes))
    rows = np.repeat(np.arange(len(tokens)), [len(found) for found in tokens])
    sides = np.repeat(np.array(turn_sides, np.int8), turn_lengths)
    hashes ^= _SIDE[sides]

    # Only words are left, each with the number of its sentence.
    sentence = np.cumsum(is_end)[~is_end]
    hashes, rows, sides = hashes[~is_end], rows[~is_end], sides[~is_end]
    first_words = np.flatnonzero(np.diff(sentence, prepend=-1))  # (sentences,)
    word_counts = np.diff(first_words, append=len(hashes))

    # The shingle that begins at each word: words n, n + 1, n + 2; of a shorter sentence, its words.
    shingles = hashes.copy()
    left = np.repeat(first_words + word_counts, word_counts) - np.arange(len(hashes))  # to the end
    for shift in range(1, WORDS_PER_SHINGLE):
        has_next = np.flatnonzero(left > shift)
        shingles[has_next] = shingles[has_next] * _MIX + hashes[has_next + shift]
    # The last words of a sentence begin no whole shingle. The first word of a short one stays.
    keep = left >= WORDS_PER_SHINGLE
    keep[first_words] = True
    counts = np.add.reduceat(keep, first_words, dtype=np.int64) if len(first_words) else word_counts
    return Sentences(
        shingles=shingles[keep],
        starts=np.concatenate([[0], np.cumsum(counts)]),
        words=word_counts.astype(np.int32),
        rows=rows[first_words].astype(np.int32),
        sides=sides[first_words],
    )


def tokenize(text: str) -> list[str]:
    """The words of a text, and what ends its sentences: a line break, or punctuation before a space."""
    return _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())


class SharedText:
    """The shingles and sentences that many rows share, as a sorted array of hash prefixes.

    A prefix has `bits` bits, so a hash is now and then taken for shared that is not: about one in a
    million. Built by `count`, one row after another; then only looked up.
    """

    def __init__(self, bits: int, prefixes: np.ndarray):
        self.bits = bits
        self.prefixes = prefixes  # uint32 (shared,), ascending

    def holds(self, hashes: np.ndarray) -> np.ndarray:
        """Which of these hashes are shared, bool (hashes,)."""
        if not len(self.prefixes):
            return np.zeros(len(hashes), bool)
        wanted = _prefix(hashes, self.bits)
        places = np.searchsorted(self.prefixes, wanted).clip(max=len(self.prefixes) - 1)
        return self.prefixes[places] == wanted


def _prefix(hashes: np.ndarray, bits: int) -> np.ndarray:
    return (hashes >> np.uint64(64 - bits)).astype(np.uint32)


class SharedTextCounter:
    """Counts in how many different conversations a sentence or a shingle occurs."""

    def __init__(self, words: int):
        """`words`: how many words are about to be counted, at least; decides the memory, 1 to 128 MB."""
        self.bits = int(np.clip(np.ceil(np.log2(max(words, 1))), 20, 27))
        self._counts = np.zeros(1 << self.bits, np.uint8)

    def add(self, prefixes: np.ndarray) -> None:
        """Counts what `countable` gave for some rows."""
        found, times = np.unique(prefixes, return_counts=True)
        self._counts[found] = np.minimum(self._counts[found] + times, 255)

    def shared(self) -> SharedText:
        found = np.flatnonzero(self._counts > SHARED_BY)
        return SharedText(self.bits, found.astype(np.uint32))


def countable(sentences: Sentences, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """What `SharedTextCounter.add` counts: hash prefixes uint32 (n,), each once a row; and their rows (n,)."""
    lengths = np.diff(sentences.starts)
    long_words = sentences.words >= LONG_SENTENCE
    long_frames = lengths >= FRAME
    hashes = np.concatenate([sentences.hashes()[long_words], sentences.shingles[np.repeat(long_frames, lengths)]])
    rows = np.concatenate(
        [sentences.rows[long_words], np.repeat(sentences.rows[long_frames], lengths[long_frames])]
    )
    keys = np.unique(rows.astype(np.uint64) << np.uint64(32) | _prefix(hashes, bits))
    return keys.astype(np.uint32), (keys >> np.uint64(32)).astype(np.int64)


class Evidence(NamedTuple):
    """What conversations are compared by, as sets of shingle hashes: for each side the whole and the evidence."""

    whole: tuple[frozenset[int], frozenset[int]]
    evidence: tuple[frozenset[int], frozenset[int]]

    def compared(self) -> frozenset[int]:
        """One set for the search of candidates: two conversations are at most as similar as these sets."""
        sides = zip(self.evidence, self.whole, strict=True)
        return frozenset().union(*(evidence or whole for evidence, whole in sides))


def is_evidence(sentences: Sentences, shared: SharedText) -> np.ndarray:
    """Which shingles are evidence, bool (shingles,)."""
    lengths = np.diff(sentences.starts)  # (sentences,)
    shared_sentence = shared.holds(sentences.hashes()) & (sentences.words >= LONG_SENTENCE)
    shared_shingle = shared.holds(sentences.shingles)
    shared_count = np.add.reduceat(shared_shingle, sentences.starts[:-1], dtype=np.int64)
    frame = (lengths >= FRAME) & (shared_count >= FRAME_SHARE * lengths)
    dropped = np.repeat(shared_sentence, lengths) | (np.repeat(frame, lengths) & shared_shingle)
    return ~dropped


def evidence_of(conversation: dict, shared: SharedText) -> Evidence:
    """What one canonical conversation is compared by."""
    sentences = split_sentences([conversation])
    if not len(sentences.words):
        return Evidence((frozenset(), frozenset()), (frozenset(), frozenset()))
    kept = is_evidence(sentences, shared)
    side_of = np.repeat(sentences.sides, np.diff(sentences.starts))  # of each shingle
    whole, evidence = [], []
    for side in range(len(SIDES)):
        mine = side_of == side
        whole.append(frozenset(sentences.shingles[mine].tolist()))
        evidence.append(frozenset(sentences.shingles[mine & kept].tolist()))
    return Evidence((whole[0], whole[1]), (evidence[0], evidence[1]))


def evidence_similarity(a: Evidence, b: Evidence) -> float:
    """How similar two conversations are, 0 to 1: the lowest Jaccard similarity of their four pairs of sets."""
    lowest = 1.0
    for side in range(len(SIDES)):
        lowest = min(lowest, _jaccard(a.whole[side], b.whole[side]))
        if a.evidence[side] or b.evidence[side]:
            lowest = min(lowest, _jaccard(a.evidence[side], b.evidence[side]))
    return lowest


def _jaccard(a: frozenset[int], b: frozenset[int]) -> float:
    return similarity(a, b) if a or b else 1.0
