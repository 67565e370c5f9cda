"""Rows and answers that people checked and set aside, as Argilla and Label Studio write it."""

from functools import lru_cache

from gemma_finetune.data.flags import to_flag, to_word
from gemma_finetune.data.key_words import split_words, words

GOOD = split_words(
    "correct is_correct accepted approved is_approved valid is_valid include keep usable "
    "review_result"
)
BAD = split_words(
    "deleted is_deleted discarded is_discarded was_cancelled delete remove do_not_use "
    "incorrect is_incorrect wrong is_wrong"
)
# The status of a row may also be that of what it tells of, such as an order.
STATES: dict[str, tuple[str, ...]] = {"status": ("discarded",)} | dict.fromkeys(
    ("record_status", "response_status", "annotation_status", "review_status"),
    ("deleted", "discarded", "rejected"),
)
STATES["prodigy_answer"] = ("reject", "ignore")
_FLAGS = ("is_", "was_")  # such a key may hold 1 and 0, other numbers may be counts
_OF_FASTAI = "is_valid"  # 0: not of the validation set
_OF_ARGILLA = "_responses_status"  # `quality.responses.status`: a list, of each annotator one


def is_marked_bad(key: str, value: object) -> bool:
    """Whether a key says that people set the row or the answer aside."""
    name = _with_underscores(key)
    if name in STATES:
        return str(value).strip().lower() in STATES[name]
    if name.endswith(_OF_ARGILLA) and isinstance(value, list):
        return bool(value) and all(state == "discarded" for state in value)
    is_flag = name.startswith(_FLAGS) and name != _OF_FASTAI
    flag = to_flag(value) if is_flag else to_word(value)
    return (name in BAD and flag is True) or (name in GOOD and flag is False)


def advice(key: str) -> str:
    """What to do about a row with such a key."""
    if _with_underscores(key) == _OF_FASTAI:
        other = "if it names the validation set, write `split` (train or validation) instead"
    else:
        other = "the key if it says something else"
    return f"people set it aside; remove the row, or {other}"


@lru_cache(10_000)
def _with_underscores(key: str) -> str:
    return "_".join(words(key))
