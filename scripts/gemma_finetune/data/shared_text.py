"""The sentences of conversations as shingle hashes, and which of them many rows share.

Shared text is an instruction before every question, a signature after every answer, the frame of a
template. Shingles are taken within sentences, so that a shared sentence leaves no trace in the
sentences beside it. A system text stands before the user's text.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rensa import RMinHash

from gemma_finetune.data.shingles import (
    ASCII_WORD,
    UNSPACED,
    WORD,
    WORDS_PER_SHINGLE,
    turn_text,
)
from gemma_finetune.utils.npz import read_arrays, write_arrays

SHARED_BY = 10  # rows; text in more of them than this is shared text
FRAME = 12  # shingles; a sentence of at least so many is a frame ...
FRAME_SHARE = 0.8  # ... where at least so many of them are shared
LONG_SYSTEM = 20  # shingles

SIDES = ("human", "gpt")
SIDE_OF = {"system": 0, "human": 0, "gpt": 1, "observation": 0, "function_call": 1}

END = "\n"
# These end a sentence in any place: in Chinese and Japanese, Hindi, Arabic, Urdu, Armenian,
# Burmese, Khmer, Tibetan, Ethiopic.
_ALWAYS = "\n。।॥؟؛۔։။។៕།።፧"
# These do so before a space, or beside a script that is written without spaces: `好吃!`. (NFKC has
# made `！？：；` into these.)
_BEFORE_SPACE = ".!?:;"
ENDS = frozenset(_BEFORE_SPACE + _ALWAYS)
_END = rf"[.!?:;](?=\s)|[!?:;](?=[{UNSPACED}])|(?<=[{UNSPACED}])[!?:;]|[{_ALWAYS}]"
_TOKEN = re.compile(f"{WORD.pattern}|{_END}")
# What _TOKEN finds in ASCII text, twice as fast.
_ASCII_TOKEN = re.compile(rf"{ASCII_WORD.pattern}|[.!?:;](?=\s)|\n", re.ASCII)
_END_HASHES = np.array(RMinHash.hash_token_sets([sorted(ENDS)])[0], np.uint64)
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SIDE = np.array([0, 0xA5A5A5A55A5A5A5A], np.uint64)  # makes the same words on two sides differ


class Sentences(NamedTuple):
    """The sentences of a chunk of conversations as shingle hashes.

    shingles: uint64 (shingles,), those of one sentence after those of another.
    starts: int64 (sentences + 1,), where the shingles of each sentence begin, and the end of all.
    words: int32 (sentences,), how many words a sentence has.
    rows: int32 (sentences,), the conversation a sentence is in.
    sides: int8 (sentences,), its place in SIDES. A system text is on the user's side.
    in_system: bool (sentences,), whether it is in the system text.
    """

    shingles: np.ndarray
    starts: np.ndarray
    words: np.ndarray
    rows: np.ndarray
    sides: np.ndarray
    in_system: np.ndarray

    def hashes(self) -> np.ndarray:
        """A hash of each whole sentence, uint64 (sentences,)."""
        return _sums(self.shingles * _MIX, self.starts[:-1], np.uint64) ^ _MIX


def split_sentences(conversations: list[dict]) -> Sentences:
    """The sentences of canonical conversations."""
    # Per conversation its tokens, words and sentence ends; each turn ends with one.
    tokens: list[list[str]] = []
    turn_lengths, turn_sides, turn_in_system = [], [], []
    for conversation in conversations:
        found: list[str] = []
        for role, text in _texts(conversation):
            before = len(found)
            found += tokenize(text)
            found.append(END)
            turn_lengths.append(len(found) - before)
            turn_sides.append(SIDE_OF[role])
            turn_in_system.append(role == "system")
        tokens.append(found)

    # Flat arrays over the tokens of all conversations, (tokens,).
    hashes = np.fromiter(chain.from_iterable(RMinHash.hash_token_sets(tokens)), np.uint64)
    is_end = np.isin(hashes, _END_HASHES)
    rows = np.repeat(np.arange(len(tokens)), [len(found) for found in tokens])
    sides = np.repeat(np.array(turn_sides, np.int8), turn_lengths)
    in_system = np.repeat(np.array(turn_in_system, bool), turn_lengths)
    hashes ^= _SIDE[sides]

    # Only words are left, each with the number of its sentence.
    sentence = np.cumsum(is_end)[~is_end]
    hashes, rows, sides = hashes[~is_end], rows[~is_end], sides[~is_end]
    in_system = in_system[~is_end]
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
    counts = _sums(keep, first_words)
    return Sentences(
        shingles=shingles[keep],
        starts=np.concatenate([[0], np.cumsum(counts)]),
        words=word_counts.astype(np.int32),
        rows=rows[first_words].astype(np.int32),
        sides=sides[first_words],
        in_system=in_system[first_words],
    )


def _texts(conversation: dict) -> Iterator[tuple[str, str]]:
    """(who says it, what is said), the system text first."""
    if "system" in conversation:
        yield "system", conversation["system"]
    for turn in conversation["conversations"]:
        yield turn["from"], turn_text(turn)


def _sums(values: np.ndarray, starts: np.ndarray, dtype: type = np.int64) -> np.ndarray:
    """The sums of parts of an array, which begin at `starts`."""
    return np.add.reduceat(values, starts, dtype=dtype) if len(starts) else np.zeros(0, dtype)


def tokenize(text: str) -> list[str]:
    """The words of a text and the ends of its sentences: line breaks, punctuation before a space.

    Punctuation alone is one word.
    """
    if text.isascii():
        tokens = _ASCII_TOKEN.findall(text.lower())
    else:
        tokens = _TOKEN.findall(unicodedata.normalize("NFKC", text).casefold())
    has_words = any(token[0] not in ENDS for token in tokens)
    return tokens if has_words or not text.strip() else [f"({text.strip()})"]


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

    def save(self, path: str | Path) -> None:
        write_arrays(path, {"bits": np.array(self.bits), "prefixes": self.prefixes})


@lru_cache(1)  # once in each process
def load_shared_text(path: str) -> SharedText:
    """What `SharedText.save` wrote. ValueError says what is wrong with the file."""
    arrays = read_arrays(path)
    return SharedText(int(arrays["bits"]), arrays["prefixes"])


def _prefix(hashes: np.ndarray, bits: int) -> np.ndarray:
    return (hashes >> np.uint64(64 - bits)).astype(np.uint32)


class SharedTextCounter:
    """Counts in how many different conversations a sentence or a shingle occurs."""

    def __init__(self, words: int):
        """`words`: about how many words will be counted. It decides the memory, 2 to 256 MB."""
        self.bits = int(np.clip(np.ceil(np.log2(max(words, 1))), 20, 27))
        self._counts = np.zeros(1 << self.bits, np.uint16)

    def add(self, prefixes: np.ndarray) -> None:
        """Counts what `countable` returned for some rows, a chunk at most."""
        undecided = prefixes[self._counts[prefixes] <= SHARED_BY]  # so that no count overflows
        np.add.at(self._counts, undecided, 1)

    def shared(self) -> SharedText:
        prefixes = np.flatnonzero(self._counts > SHARED_BY)
        return SharedText(self.bits, prefixes.astype(np.uint32))


def countable(sentences: Sentences, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """What `SharedTextCounter.add` counts: hash prefixes uint32 (n,) and their rows (n,).

    They are those of long sentences and of the shingles of sentences that may be a frame, each once
    a row.
    """
    lengths = np.diff(sentences.starts)
    long_frames = lengths >= FRAME
    hashes = np.concatenate(
        [sentences.hashes(), sentences.shingles[np.repeat(long_frames, lengths)]]
    )
    rows = np.concatenate(
        [sentences.rows, np.repeat(sentences.rows[long_frames], lengths[long_frames])]
    )
    keys = np.sort(rows.astype(np.uint64) << np.uint64(32) | _prefix(hashes, bits))
    keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]  # np.unique hashes, at six times the cost
    return keys.astype(np.uint32), (keys >> np.uint64(32)).astype(np.int64)


def is_shared(sentences: Sentences, shared: SharedText) -> np.ndarray:
    """Which shingles are in shared sentences or belong to a frame, bool (shingles,)."""
    lengths = np.diff(sentences.starts)  # (sentences,)
    shared_sentence = shared.holds(sentences.hashes())
    shared_shingle = shared.holds(sentences.shingles)
    shared_count = _sums(shared_shingle, sentences.starts[:-1])
    is_frame = (lengths >= FRAME) & (shared_count >= FRAME_SHARE * lengths)
    return np.repeat(shared_sentence, lengths) | (np.repeat(is_frame, lengths) & shared_shingle)


def compared_sentences(conversations: list[dict], shared: SharedText) -> Sentences:
    """The sentences by which conversations are compared.

    Not what short system texts share with many rows. A long one may be a document: it stays, even
    if many rows ask about it.
    """
    sentences = split_sentences(conversations)
    if not sentences.in_system.any():
        return sentences
    lengths = np.diff(sentences.starts)
    sizes = np.bincount(sentences.rows, lengths * sentences.in_system)  # of system texts, (rows,)
    in_short_system = sentences.in_system & (sizes[sentences.rows] < LONG_SYSTEM)
    keep = ~(np.repeat(in_short_system, lengths) & is_shared(sentences, shared))
    kept = _sums(keep, sentences.starts[:-1])  # shingles, (sentences,)
    has_any = kept > 0
    return Sentences(
        shingles=sentences.shingles[keep],
        starts=np.concatenate([[0], np.cumsum(kept[has_any])]),
        words=sentences.words[has_any],
        rows=sentences.rows[has_any],
        sides=sentences.sides[has_any],
        in_system=sentences.in_system[has_any],
    )
