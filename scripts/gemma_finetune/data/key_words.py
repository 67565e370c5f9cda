"""The words of a key, however it is written: rules about keys rule on words.

lossMask, loss-mask, "Loss Mask", loss.mask, LOSS_MASK, lossmask  ->  ("loss", "mask")
docs_2  ->  ("docs", "2")
"""

import re
from collections.abc import Iterable
from functools import lru_cache

# A capital begins a word unless it follows another capital: `inputText`, `HTMLText`.
_WORD = re.compile(r"CoT|[A-Z]+(?![^\W\d_A-Z])|[A-Z]?[^\W\d_A-Z]+|[A-Z]|\d+")
_APOSTROPHE = re.compile(r"['\u2019]")
# Words that people write together: `systemprompt`, `trainmask`.
_JOINED = (
    "system sys user assistant input chat history dialog dialogue conversation loss mask masks "
    "weight weights train training reasoning thinking thought think chain cot text texts content "
    "prompt message messages instruction instructions image images img video audio url urls path "
    "file tool tools function call calls on context passage document source retrieved output "
    "response answer completion token not dont in is"
)
_PAIR = re.compile(rf"({_JOINED.replace(' ', '|')})({_JOINED.replace(' ', '|')})")


@lru_cache(10_000)
def words(key: str) -> tuple[str, ...]:
    """The words of a key in small letters; numbers are words, too."""
    found: list[str] = []
    for word in _WORD.findall(_APOSTROPHE.sub("", key[:200])):
        pair = _PAIR.fullmatch(word.lower())
        found += pair.groups() if pair else [word.lower()]
    return tuple(found)


@lru_cache(10_000)
def singular(word: str) -> str:
    """The word without the `s` of a plural."""
    is_plural = len(word) > 3 and word.endswith("s") and word[-2] not in "siu"
    return word[:-1] if is_plural and word != "news" else word


def split_words(text: str) -> frozenset[str]:
    """The words of a list that is written as one text."""
    return frozenset(text.split())


def all_in(found: Iterable[str], *known: frozenset[str]) -> bool:
    """Whether each word is in one of the sets."""
    return all(any(word in names for names in known) for word in found)
