"""Keys of text that belongs to a question: the passage it is about, its options, earlier turns.

No format has a column for them, so they would be lost. They are told by their words and by what
they hold: `retrieved_docs` is text, `document_id` and `"source_document": "a.pdf"` are metadata.
"""

import re
from functools import lru_cache

from gemma_finetune.data.key_words import all_in, singular, split_words, words
from gemma_finetune.data.loss_mask import to_word

# Text to answer from, whatever word is before it: `retrieved_docs`, `additional_context`.
_SOURCES = split_words("context ctx passage document doc chunk snippet excerpt grounding")
# What else is text alone, or after the words of _GIVEN.
_TEXTS = split_words(
    "text background article body content paragraph transcript sentence code schema table "
    "knowledge evidence fact premise hypothesis dialog dialogue retrieved"
)
_GIVEN = split_words(
    "source src input context passage document article paragraph table db database sql supporting "
    "support additional extra second retrieved given related relevant background external search "
    "file page section email html web wiki wikipedia news review report note ticket"
)
# These are text only alone, or only several of them.
_ALONE = split_words(
    "story support abstract email target aspect inputs choices options distractors endings webpage "
    "backgroundinfo backgroundinformation fewshotexamples fewshots demonstrations"
)
# What is text only after the words of _ASKERS, or of _EARLIER.
_ASKED = split_words(
    "input message msg query question prompt request utterance instruction text result"
)
_ASKERS = split_words("user human customer additional extra search web retrieval retrieved")
_TURNS = split_words("history log message turn utterance dialog dialogue conversation exchange")
_EARLIER = split_words(
    "chat conversation dialog dialogue message previous prev past prior earlier preceding"
)
_QUESTIONS = split_words("input question query prompt instruction")
_HOLDERS = split_words("text content string str list data")  # `context_text`, `inputData`
# `has_context: "partly"` is about a context; texts that were not shown are none of the question's.
_NONE_OF_IT = split_words(
    "is has needs requires use num n no negative hard neg output response answer"
)
_OPTIONS = split_words("option choice opt op distractor candidate ending answer")
_NUMBERED = _OPTIONS | split_words(
    "text sentence passage paragraph document context ctx article input doc chunk"
)
LETTERS = frozenset("abcdefgh")
_REFERENCE = re.compile(r"\S*[./_:#\\-]\S*[^\s.]|[A-Za-z]{0,4}\d+")


@lru_cache(10_000)
def kind_of_part(key: str) -> str | None:
    """What a key names by its words: a `part` of a question, one of several `option`s, or a
    `source`, which may also name a document instead of holding its text; or None.
    """
    found = tuple(map(singular, words(key)))
    if not found or _NONE_OF_IT.intersection(found[:-1]) - {"answer"}:
        return None
    if "".join(words(key)) in _ALONE:
        return "part"
    is_numbered = len(found) > 1 and (found[-1].isdigit() or found[-1] in LETTERS)
    if len(found) == 2 and (is_numbered or found[1] == "pair") and found[0] in _NUMBERED:
        return "option" if found[0] in _OPTIONS else "part"
    if len(found) == 1 and re.fullmatch("op[a-h]", found[0]):
        return "option"
    if is_numbered:
        found = found[:-1]
    return _kind(found) or (_kind(found[:-1], True) if found[-1] in _HOLDERS else None)


def _kind(found: tuple[str, ...], is_held: bool = False) -> str | None:
    """As `kind_of_part`, of words in the singular. is_held: a word such as `text` followed."""
    if not found or not _NONE_OF_IT.isdisjoint(found):
        return None
    *before, last = found
    if last in _SOURCES:
        return "source" if before or last != "context" else "part"
    is_text = last in _TEXTS and all_in(before, _GIVEN)
    is_asked = last in _ASKED and before and all_in(before, _ASKERS)
    is_turns = last in _TURNS and before and all_in(before, _EARLIER)
    is_question = is_held and all_in(found, _QUESTIONS)
    return "part" if is_text or is_asked or is_turns or is_question else None


def is_part(key: str, value: object) -> bool:
    """Whether a key holds a part of the question of a row without turns."""
    kind = kind_of_part(key)
    if kind is None or (isinstance(value, int | float) and kind != "option"):
        return False
    return kind == "option" or not _only_refers(value)


def is_option(key: str) -> bool:
    return kind_of_part(key) == "option"


def _only_refers(value: object) -> bool:
    """Whether it names documents, by `a.pdf`, an address or an id; or says yes or no."""
    items = value if isinstance(value, list) else [value]
    return all(isinstance(item, int | float) or _refers(item) for item in items)


def _refers(item: object) -> bool:
    if not isinstance(item, str) or len(item) > 200 or not item.isascii():
        return False
    return _REFERENCE.fullmatch(item.strip()) is not None or to_word(item) is not None
