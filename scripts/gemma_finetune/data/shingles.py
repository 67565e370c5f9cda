"""Conversations as sets of shingles, by which they are compared. Text in, integers out.

A shingle is three words in a row. Words are compared without case, width and punctuation. Numbers
and symbols count, so "20 degrees" and "21 degrees" differ. System texts are left out: where every
row has the same long one, all rows would be twins.
"""

import re
import unicodedata
from itertools import chain

import numpy as np
from rensa import RMinHash

from gemma_finetune.data.tool_rows import to_json

WORDS_PER_SHINGLE = 3

# In scripts that are written without spaces, every character counts as a word. In the others, the
# words are: words, minus signs, and symbols that have a meaning.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
# Zero-width characters, marks of direction, variation selectors, the soft hyphen.
UNSEEN = "\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"
WORD = re.compile(
    rf"""[{UNSPACED}]|[^\W{UNSPACED}]+|(?<!\w)-(?=\d)"""
    rf"""|[^\w\s.,;:!?'"()\[\]{{}}\-‘’“”–—…、。{UNSEEN}]"""
)
# What WORD finds in ASCII text.
ASCII_WORD = re.compile(r"""\w+|(?<!\w)-(?=\d)|[^\w\s.,;:!?'"()\[\]{}\-]""", re.ASCII)
_MIX = np.uint64(0x9E3779B97F4A7C15)


def turn_text(turn: dict) -> str:
    """What was said in a turn of a canonical conversation; calls and responses as JSON."""
    value = turn["value"]
    return value if isinstance(value, str) else to_json(value)


def message_text(message: dict) -> str:
    """`turn_text` for a message of a formatted row: its text, or its calls, or both."""
    content = message.get("content") or ""
    texts = [content if isinstance(content, str) else to_json(content)]
    if "tool_calls" in message:
        texts.append(to_json([call["function"] for call in message["tool_calls"]]))
    return "\n".join(filter(None, texts))


def words(text: str) -> list[str]:
    """The words of a text, without case, width and punctuation."""
    return WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def shingle_hashes(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The hashes of all shingles of all texts, and where those of each text begin and end.

    Returns uint64 (total,) and int64 (texts + 1,). A shingle that occurs twice is there twice.
    A text with fewer words than a shingle gets one shingle.
    """
    hashed = RMinHash.hash_token_sets([_padded(words(text)) for text in texts])
    flat = np.fromiter(chain.from_iterable(hashed), np.uint64)  # (words of all texts,)
    offsets = np.cumsum([0, *map(len, hashed)])

    # The hash of a shingle, computed for all texts at once. For each word: words n, n + 1, n + 2.
    shingled = flat.copy()
    for shift in range(1, WORDS_PER_SHINGLE):
        shingled[:-shift] = shingled[:-shift] * _MIX + flat[shift:]

    # The last words of a text start shingles that run into the next text: leave those out.
    keep = np.ones(len(flat), bool)
    for shift in range(1, WORDS_PER_SHINGLE):
        keep[offsets[1:] - shift] = False
    return shingled[keep], offsets - np.arange(len(offsets)) * (WORDS_PER_SHINGLE - 1)


def _padded(found: list[str]) -> list[str]:
    return found + [""] * (WORDS_PER_SHINGLE - len(found))
