"""Which answers a row wants to be trained on: the flags and weights of turns and of whole rows.

Only 0 and 1 (or false and true, also as text) can be honoured: an answer is trained on or not.
"""

from collections.abc import Mapping
from itertools import chain

from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.turn_list import small

# True means trained on, as OpenAI, Axolotl, ms-swift, Mistral and others call it.
TRAINED = frozenset(
    "weight weights loss_weight lossweight sample_weight loss_scale loss_mask loss use_loss "
    "has_loss with_loss enable_loss compute_loss calculate_loss train training trainable "
    "is_trainable trained train_on trainon train_on_turn supervised".split()
)
# True means not trained on: torchtune's name, and those that people choose themselves.
MASKED = frozenset(
    "masked is_masked mask_loss ignore ignored ignore_loss no_loss no_train do_not_train skip "
    "exclude excluded".split()
)
# A mask may mean either; the details are masks of parts of a text.
REFUSED = frozenset(("mask", "train_detail", "training_detail"))
# In a whole row, other names often are metadata: `loss` of another model, `training` of a person.
WEIGHTS = frozenset("weight weights loss_weight lossweight sample_weight loss_scale".split())

KEYS = TRAINED | MASKED | REFUSED
QUESTION_KEYS = KEYS - MASKED  # what can say that a question is trained on
FLAGS = {"true": True, "yes": True, "false": False, "no": False}

# What people say of rows and answers that they checked, as Argilla and Label Studio write it.
GOOD = frozenset(
    "correct is_correct accepted approved is_approved valid is_valid include keep "
    "review_result".split()
)
BAD = frozenset("deleted is_deleted discarded is_discarded was_cancelled".split())
# The status of a row may also be that of what it tells of, such as an order.
STATES = {"status": ("discarded",)} | dict.fromkeys(
    ("record_status", "response_status", "annotation_status"),
    ("deleted", "discarded", "rejected"),
)
MARKS = GOOD | BAD | STATES.keys()


def wants_training(extra: Mapping[str, object] | None, names: frozenset[str] = KEYS) -> bool | None:
    """Whether the extra keys of a turn say that it is trained on; None if they say nothing.

    names: the keys that are looked at, in small letters.
    Rejection `weight` if they cannot be honoured or contradict each other. Its message begins with
    `has`: the caller puts the turn before it.
    """
    said = None
    for key, value in (extra or {}).items():
        if small(key) not in names or is_nothing(value):
            continue
        flag = read_flag(key, value)
        if flag is None:
            raise Rejection(
                "weight",
                f"has `{key}` {value!r:.20}, which cannot be honoured: a text is "
                "trained on or not (`weight` 1 or 0, `train` true or false)",
            )
        if said is not None and flag != said:
            raise Rejection("weight", f"has `{key}` {value!r:.20}, which another key contradicts")
        said = flag
    return said


def read_flag(key: str, value: object) -> bool | None:
    """Whether `key` with this value means that the text is trained on; None if unclear."""
    flag = to_flag(value)
    if flag is None or small(key) in REFUSED:
        return None
    return flag != (small(key) in MASKED)


def to_flag(value: object) -> bool | None:
    """A boolean, 0 or 1, also as text; None for all else."""
    number = _number(value)
    if number is not None:
        return bool(number) if number in (0, 1) else None
    return to_word(value)


def to_word(value: object) -> bool | None:
    """A boolean, also as text; None for all else: a number may be a count or a score."""
    return FLAGS.get(str(value).strip().lower())


def _number(value: object) -> float | None:
    """A number, also as text."""
    if not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def refuse_untrained_row(extra: Mapping[str, object] | None) -> None:
    """Rejection if the extra keys of a whole row say that it is not trained on, or only in part."""
    for key, value in (extra or {}).items():
        name = small(key)
        if name not in KEYS or is_nothing(value):
            continue
        flag = read_flag(key, value)
        if flag is False:
            raise Rejection("untrained", f"has `{key}` {value!r:.20}: it is not to be trained on")
        if _is_mask(value, name):
            raise Rejection(
                "weight",
                f"has `{key}` {value!r:.20}, which cannot be honoured: "
                "write `weight` 0 or 1 into each turn",
            )
        is_weight = name in WEIGHTS and _number(value) is not None
        if flag is None and (is_weight or name in REFUSED):
            raise Rejection(
                "weight",
                f"has `{key}` {value!r:.20}, which cannot be honoured: all rows count alike; "
                "remove the key or the row",
            )


def _is_mask(value: object, name: str) -> bool:
    """Whether it is a list of flags or weights, also as a table holds one: as text."""
    if isinstance(value, str) and value.strip().startswith("["):
        value = [item.strip(" []\"'") for item in value.split(",")]
    if not isinstance(value, list):
        return False
    if all(isinstance(item, list) for item in value):  # a list of each turn's tokens
        value = list(chain.from_iterable(value))
    return all(_is_flag(item, name) for item in value)


def _is_flag(item: object, name: str) -> bool:
    """Whether an item of a list says how much a turn or a token counts. Null says nothing."""
    number = _number(item)
    if number is not None:
        return name in WEIGHTS or 0 <= number <= 1
    return to_word(item) is not None or item in (None, "null", "None")


def is_marked_bad(name: str, value: object) -> bool:
    """Whether a key, in small letters, says that people set the row or the answer aside."""
    if name in STATES:
        return str(value).strip().lower() in STATES[name]
    return (name in BAD and to_word(value) is True) or (name in GOOD and to_word(value) is False)
