"""Keys of a row that its format does not know.

A key that changes the meaning of the row is refused by name, in any case: dropping it would train
on something that the row does not say. `loss_mask` and `reasoning` say which of their keys are
honoured instead, and `unread_text` which keys hold text that would be lost. Most keys are told by
their words (`key_words`) and by what they hold. Other keys, such as id, topic or source, are
ignored and counted.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from gemma_finetune.data import loss_mask, schemas, set_aside
from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.key_words import all_in, split_words, words
from gemma_finetune.data.preferences import is_disliked, is_second_answer
from gemma_finetune.data.reasoning_keys import HINT, is_reasoning
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.roles import role_of
from gemma_finetune.data.row_keys import COLUMNS, NO_COLUMNS, Columns, is_empty
from gemma_finetune.data.turn_list import small
from gemma_finetune.data.turns import numbered
from gemma_finetune.data.unread_text import (
    SAME_MEANING,
    is_lost_beside,
    is_read,
    leaves_out,
    refuse_unread_text,
)

WHY = {
    "tool_call": "and calls are read from `tools` and `tool_calls` of rows with turns",
    "non_text_part": "which a text model cannot see",
    "reasoning": "which only an answer can have",
    "preference": "which is preference data (DPO): keep the better answer alone",
}
# Of words written together, in small letters.
MEDIA = re.compile(
    "(image|img|picture|photo|video|audio|attachment)s?(url|path|file|data|bytes|base64)?s?"
)
CALLS = re.compile("tools|functions|(tool|function)calls?")
_METADATA = split_words("meta metadata info annotation annotations")
# Other keys of a turn that `raw_turns` has left because their place is taken.
SAME_AS_A_TURNS = frozenset(("from", "role", "value", "content"))
MOST = 50  # names that are counted: a file that uses keys for data would give millions
OTHERS = "(other keys)"


def check_extra_keys(
    row: schemas.Row, rule: str = "refuse", columns: Columns = NO_COLUMNS
) -> set[str]:
    """The names of the ignored keys: `KEY`, `turn.KEY` or `part.KEY`.

    rule: `data.reasoning`. columns: `data.columns`, without those that this row is not read by.
    Raises a Rejection that names the first key that must not be ignored.
    """
    ignored = _check_row(row, rule, columns) if row.model_extra else set()
    for _, where, turn in numbered(schemas.turns(row)):
        if turn.model_extra:
            ignored |= _check_turn(turn, where, rule, row)
        if isinstance(turn.content, list):
            for part in turn.content:
                ignored |= _check_part(part, where, rule if role_of(turn.role) == "gpt" else None)
    return ignored


def _check_row(row: schemas.Row, rule: str, columns: Columns) -> set[str]:
    ignored = set()
    loss_mask.refuse_untrained_row(row.model_extra, _count_answers(row))
    is_named = "user" in columns  # other texts are left out on purpose, and preferences
    for key, name, value in _extras(row, ""):
        if is_second_answer(key, value) and not is_read(row, value):
            if not leaves_out(row, columns):
                why = f"{WHY['preference']}, or name it in data.columns"
                raise Rejection("preference", f"has `{key}`, {why}")
            if key not in columns.values():
                ignored.add(_printable(key))
                continue
        _refuse_marks(key, value, "", is_named=is_named)
        if is_reasoning(key, value) and not (is_named and rule == "refuse"):
            _refuse_reasoning(key, "", rule)
            continue
        refuse_unread_text(row, key, name, value, columns)
        ignored.add(_printable(key))
    return ignored


def _count_answers(row: schemas.Row) -> int:
    if isinstance(row, schemas.Alpaca):
        return 1 + len(row.history or ())
    return sum(role_of(turn.role) == "gpt" for turn in schemas.turns(row))


def _refuse_marks(
    key: str, value: object, where: str, is_answer: bool = True, is_named: bool = False
) -> None:
    """Rejection if a key, or one in an object of metadata, says that the text is not to be used.

    is_named: the answer is one that a person chose, so what others preferred does not count.
    """
    marks = [(key, key, value)]
    metadata = _object_in(value) if _is_metadata(key) else None
    in_metadata = metadata is not None
    if metadata is not None:
        marks = [(f"{key}.{name}", name, said) for name, said in metadata.items()]
    for path, name, said in marks:
        is_class = in_metadata and small(name) == "label"
        # Open WebUI's rating is 1 or -1; in others, -1 may stand for none.
        is_bad = is_disliked(name, said) or (path == "annotation.rating" and said == -1)
        if in_metadata and is_answer and loss_mask.is_clearly_untrained(name, said):
            reason, why = "untrained", "it is not to be trained on"
        elif set_aside.is_marked_bad(name, said):
            reason, why = "untrained", set_aside.advice(name)
        elif is_answer and is_bad and not (is_class or is_named):
            reason, why = "preference", "an answer that people did not like (KTO)"
        else:
            continue
        raise Rejection(reason, f"{where}has `{path}` {said!r:.20}: {why}")


def _check_turn(turn: schemas.Turn, where: str, rule: str, row: schemas.Row) -> set[str]:
    ignored = set()
    place = f"{where} ({turn.role:.40})"
    is_answer = role_of(turn.role) in ("gpt", "function_call")
    try:
        trained = loss_mask.wants_training(turn.model_extra, is_answer)
    except Rejection as rejection:
        raise Rejection(rejection.reason, f"{place} {rejection.message}")
    if trained and not is_answer:
        raise Rejection("weight", f"{place} is to be trained on, but only answers can be")

    for key, name, value in _extras(turn, f"{where} "):
        if name in SAME_AS_A_TURNS:
            raise Rejection("ambiguous", f"{where} has `{key}`, {SAME_MEANING}")
        if is_second_answer(key, value) and not is_read(row, value):
            raise Rejection("preference", f"{where} has `{key}`, {WHY['preference']}")
        _refuse_marks(key, value, f"{place} ", is_answer)
        if is_answer and name == "channel" and value in ("analysis", "commentary"):
            raise Rejection("reasoning", f"{place} has `channel` {value!r}, which is no answer")
        if is_reasoning(key, value):
            if not is_answer:
                raise Rejection("reasoning", f"{place} has `{key}`, {WHY['reasoning']}")
            _refuse_reasoning(key, f"{where} ", rule)
        elif name == "name" and role_of(turn.role) == "observation":
            continue  # of the function: `turns` reads it
        elif is_lost_beside(turn, key, value, row):
            if is_answer:
                raise Rejection("ambiguous", f"{place} has `{key}`, {SAME_MEANING}")
            raise Rejection(
                "lost_text", f"{place} has `{key}`, which would be lost: write it into the text"
            )
        elif trained == is_answer or not loss_mask.speaks(key, is_answer):
            ignored.add(f"turn.{_printable(key)}")
    return ignored


def _check_part(part: schemas.Part, where: str, rule: str | None) -> set[str]:
    """rule: of an answer, `data.reasoning`."""
    ignored = set()
    for key, name, value in _extras(part, f"{where} "):
        if loss_mask.sense(key):
            raise Rejection("weight", f"{where} has `{key}` in a part of its text")
        if is_reasoning(key, value) or (name == "thought" and value is True):
            if not rule:
                raise Rejection("reasoning", f"{where} has `{key}`, {WHY['reasoning']}")
            _refuse_reasoning(key, f"{where} ", rule)
            continue
        ignored.add(f"part.{_printable(key)}")
    return ignored


def _refuse_reasoning(key: str, where: str, rule: str) -> None:
    if rule == "refuse":
        raise Rejection("reasoning", f"{where}has `{key}`; {HINT}")


def _extras(model: schemas.Schema, where: str) -> Iterator[tuple[str, str, object]]:
    """(key, key in small letters, value) of the extra keys that hold something.

    Rejection at the first one of an image, a recording, a file or a call.
    """
    for key, value in (model.model_extra or {}).items():
        name = small(key)
        is_text = isinstance(model, schemas.Alpaca) and name in COLUMNS and isinstance(value, str)
        if is_empty(name, value) if is_text else is_nothing(value):
            continue
        reason = _refused(key)
        if reason and not (reason == "non_text_part" and isinstance(value, int | float)):
            raise Rejection(reason, f"{where}has `{key}`, {WHY[reason]}")
        yield key, name, value


def _object_in(value: object) -> dict | None:
    """An object, also as JSON text, as tables have it; None for all else."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)  # reads NaN as well, which pandas writes
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


@lru_cache(10_000)
def _is_metadata(key: str) -> bool:
    """Whether a key holds what is known about the row or the turn: `metadata`, `meta_info`."""
    return bool(words(key)) and all_in(words(key), _METADATA)


@lru_cache(10_000)
def _refused(key: str) -> str | None:
    """Why a key is refused whatever it holds."""
    joined = "".join(words(key))
    if MEDIA.fullmatch(joined):
        return "non_text_part"
    return "tool_call" if CALLS.fullmatch(joined) else None


def keep_most_common(counter: Counter) -> Counter:
    """At most MOST names; the rarer ones are counted together as OTHERS."""
    if len(counter) <= MOST:
        return counter
    others = counter.pop(OTHERS, 0)
    kept = Counter(dict(counter.most_common(MOST - 1)))
    kept[OTHERS] = others + counter.total() - kept.total()
    return kept


def _printable(key: str) -> str:
    return key[:60] if key.isprintable() else ascii(key[:60])
