"""Keys of text that belongs to a question: the passage it is about, its options, earlier turns.

No format has a column for them, so they would be lost. They are told by their words and by what
they hold: `retrieved_docs` is text, `document_id` and `"source_document": "a.pdf"` are metadata.
"""

import re
from collections.abc import Iterator
from functools import lru_cache

from gemma_finetune.data.flags import to_word
from gemma_finetune.data.key_words import all_in, singular, split_words, words
from gemma_finetune.data.row_keys import ANSWERS, TEXT_KEYS, holds_system
from gemma_finetune.data.turn_list import small

# Text to answer from, whatever word is before it: `retrieved_docs`, `additional_context`.
_SOURCES = split_words("context ctx passage document doc chunk grounding")
_QUOTES = split_words("snippet excerpt")  # the same, but never a name of a document
# What else is text alone, or after the words of _GIVEN.
_TEXTS = split_words(
    "text background article body content paragraph transcript sentence code schema table "
    "knowledge evidence fact premise hypothesis dialog dialogue retrieved"
)
_GIVEN = split_words(
    "source src input context passage document article paragraph table db database sql supporting "
    "support additional extra second retrieved given related relevant background external search "
    "file page section email html web wiki wikipedia news review report note ticket "
    "question starter"
)
# These are text only alone, or only several of them.
_ALONE = split_words(
    "story support abstract email target aspect inputs webpage "
    "backgroundinfo backgroundinformation fewshotexamples fewshots demonstrations suffix"
)
# The same if they hold more than a few words, which may be a name.
_MAYBE_NAMES = split_words(
    "definition taskdefinition taskdescription taskinstruction taskinstructions scenario situation "
    "diff gitdiff patch ocrtext stacktrace emailthread policy rules guidelines constraints"
)
_CHOICES = split_words("choices options distractors endings")
_FILES = split_words("file files attachedfiles uploadedfile uploadedfiles sourcefiles")
# Parts that may name a file or an address instead of holding its text.
_PAGES = split_words(
    "article page story webpage email abstract transcript body background table schema knowledge "
    "evidence fact support target result html paragraph sentence"
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
    "text sentence passage paragraph document context ctx article input doc chunk question prompt"
)
LETTERS = frozenset("abcdefgh")
# Keys of a turn that may hold its text, or more of it, next to those of the formats.
_TEXTS_OF_A_TURN = TEXT_KEYS | split_words("text message parts contents utterance instructions")
_ANSWERS_OF_A_TURN = frozenset(ANSWERS) | split_words("text message parts contents utterance")
# Beside turns these are mostly about the conversation: its topic, what it was written from.
_ABOUT_TURNS = split_words(
    "text knowledge code content target email support aspect story abstract evidence fact inputs"
)
# What a list of documents says about each of them.
_ABOUT_TEXT = split_words(
    "id title name url uri link href path file filename source type score rank lang language date "
    "author section label key state status reason hash sha mime version metadata"
)
_TEXT_ITSELF = ("text", "content", "page_content", "body")  # the rest is about it
# How metadata name a document, by a file, an address or an id; text has other marks, too.
_FILE_OR_ID = re.compile(r"[^\s{}]+\.[A-Za-z]\w{1,4}|(?=.{1,40}\Z)[\w.:/-]*\d[\w.:/-]*", re.ASCII)
_ADDRESS = r"https?://\S+"
_NAME = r"""[^\s{}()\[\]<>;=|,"']"""
_NAMES = {
    "source": re.compile(rf"{_ADDRESS}|{_NAME}*[./_:#\\-]{_NAME}*(?<!\.)"),
    "page": re.compile(rf"{_ADDRESS}|[\w-]+(\.[\w-]+)+(/\S*)?|\w+_\w+"),
    "code": re.compile("[a-z]{2}[-_][A-Z]{2}"),
}
_END_OF_SENTENCE = tuple(".!?:…。！？：")


@lru_cache(10_000)
def kind_of_part(key: str) -> str | None:
    """What a key names by its words: a `part` of a question, one of several `option`s, all its
    `choices`; or a `source`, a `page`, `code`, a `file` or a `name`, which may also name something
    instead of holding its text. None if it names none of these.
    """
    found = tuple(map(singular, words(key)))
    if not found or _NONE_OF_IT.intersection(found[:-1]) - {"answer"}:
        return None
    joined = "".join(words(key))
    if joined in _CHOICES:
        return "choices"
    if joined in _FILES:
        return "file"
    if joined in _MAYBE_NAMES:
        return "name"
    if joined in _ALONE:
        return "page" if found[-1] in _PAGES else "part"
    is_numbered = len(found) > 1 and (found[-1].isdigit() or found[-1] in LETTERS)
    if len(found) == 2 and (is_numbered or found[1] == "pair") and found[0] in _NUMBERED:
        if found[0] in _SOURCES:
            return "source"
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
    if last in _QUOTES or found == ("context",):
        return "part"
    if last in _SOURCES:
        return "source"
    is_text = last in _TEXTS and all_in(before, _GIVEN)
    is_asked = last in _ASKED and before and all_in(before, _ASKERS)
    is_turns = last in _TURNS and before and all_in(before, _EARLIER)
    is_question = is_held and all_in(found, _QUESTIONS)
    if is_text or is_asked or is_turns or is_question:
        return "page" if last in _PAGES else "code" if last == "code" else "part"
    return None


def is_part(key: str, value: object) -> bool:
    """Whether a key holds a part of the question of a row without turns."""
    kind = kind_of_part(key)
    if kind is None or (isinstance(value, int | float) and kind != "option"):
        return False
    if kind == "option":
        return True
    if kind == "choices" and isinstance(value, list):  # an API's have more than texts
        return any(not isinstance(item, dict) or any(texts_in(item)) for item in value)
    if kind == "choices" and isinstance(value, dict):  # of a request: `{"temperature": 0.2}`
        found = set(map(str.lower, value))
        return "text" in found or len(found & LETTERS) > 1
    if kind == "name":
        return any(not (_is_title(text) or _refers(text, "source")) for text in texts_in(value))
    if kind == "file":  # a text is its name
        value = [item for item in _as_list(value) if isinstance(item, dict)]
        kind = "source"
    return any(not _refers(text, kind) for text in texts_in(value))


def _as_list(value: object) -> list:
    return value if isinstance(value, list) else [value]


def is_beside_turns(key: str, value: object) -> bool:
    """Whether a key of a row with turns holds text that the turns are about. A few words are the
    name of it, but not of options.
    """
    if not is_part(key, value) or _ABOUT_TURNS.issuperset(map(singular, words(key))):
        return False
    if kind_of_part(key) == "name":
        return False
    if kind_of_part(key) in ("option", "choices"):
        return True
    return not all(map(_is_title, texts_in(value)))


def _is_title(text: str) -> bool:
    """Whether a text is short enough for a name; Chinese has no spaces between words."""
    text = text.strip()
    longest = 60 if max(text, default="") < "\u2e80" else 12
    is_short = len(text) <= longest and len(text.split()) <= 4
    return is_short and not text.endswith(_END_OF_SENTENCE)


def is_text_of_turn(key: str, value: object, is_answer: bool) -> bool:
    """Whether a key of a turn holds its text, or text that belongs to it."""
    if not is_answer and is_part(key, value):
        return True
    names = _ANSWERS_OF_A_TURN if is_answer else _TEXTS_OF_A_TURN
    is_named = key.strip().lower() in names or (not is_answer and holds_system(key, value))
    return is_named and any(texts_in(value))


def is_option(key: str) -> bool:
    return kind_of_part(key) == "option"


def texts_in(value: object) -> Iterator[str]:
    """The texts of a value, of a list of them and of objects in it, without titles, ids, ..."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts_in(item)
    elif isinstance(value, dict):
        held = [item for key, item in value.items() if small(key) in _TEXT_ITSELF and item]
        for item in held or _without_metadata(value):
            yield from texts_in(item)


def _without_metadata(value: dict) -> list:
    return [item for key, item in value.items() if _last_word(key) not in _ABOUT_TEXT]


@lru_cache(10_000)
def _last_word(key: str) -> str:
    """The last word that is no number."""
    return next((word for word in reversed(words(key)) if not word.isdigit()), "")


def _refers(text: str, kind: str) -> bool:
    """Whether it names a document, by `a.pdf`, an address or an id; or says yes or no."""
    text = text.strip()
    if text.lower() in ("true", "false", "n/a"):
        return True
    if kind not in _NAMES or len(text) > 200:
        return False
    if _FILE_OR_ID.fullmatch(text):
        return True
    if not text.isascii():
        return False
    return to_word(text) is not None or _NAMES[kind].fullmatch(text) is not None
