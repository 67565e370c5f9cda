"""Rows and answers that people checked and set aside, as Argilla and Label Studio write it."""

from functools import lru_cache

from gemma_finetune.data.flags import to_word
from gemma_finetune.data.key_words import split_words, words

GOOD = split_words(
    "correct is_correct accepted approved is_approved valid is_valid include keep usable "
    "review_result"
)
BAD = split_words(
    "deleted is_deleted discarded is_discarded was_cancelled delete remove do_not_use"
)
# The status of a row may also be that of what it tells of, such as an order.
STATES = {"status": ("discarded",)} | dict.fromkeys(
    ("record_status", "response_status", "annotation_status", "review_status"),
    ("deleted", "discarded", "rejected"),
)
_OF_ARGILLA = "_responses_status"  # `quality.responses.status`: a list, of each annotator one


def is_marked_bad(key: str, value: object) -> bool:
    """Whether a key says that people set the row or the answer aside."""
    name = _with_underscores(key)
    if name in STATES:
        return str(value).strip().lower() in STATES[name]
    if name.endswith(_OF_ARGILLA) and isinstance(value, list):
        return bool(value) and all(state == "discarded" for state in value)
    return (name in BAD and to_word(value) is True) or (name in GOOD and to_word(value) is False)


@lru_cache(10_000)
def _with_underscores(key: str) -> str:
    return "_".join(words(key))
