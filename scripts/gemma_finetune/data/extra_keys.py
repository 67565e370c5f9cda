"""Keys of a row that its format does not know.

A key that changes the meaning of the row is refused by name: dropping it would train on something
that the row does not say. `loss_mask` and `reasoning` say which of their keys are honoured instead.
Other keys, such as id, topic or source, are ignored and counted.
"""

from collections import Counter
from collections.abc import Iterator

from gemma_finetune.data import loss_mask, reasoning, schemas
from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.converter import numbered, role_of
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.row_guess import PREFERENCES
from gemma_finetune.data.row_keys import NO_COLUMNS, TEXT_KEYS, Columns
from gemma_finetune.data.turn_list import is_turn_list

WHY = {
    "tool_call": "and calls are read from `tools` and `tool_calls` of rows with turns",
    "non_text_part": "which a text model cannot see",
    "ambiguous": "next to another key with the same meaning; keep one of them",
    "preference": "which is preference data (DPO): keep the better answer alone",
}
MEDIA = dict.fromkeys(
    "image images image_url image_urls image_path image_paths video videos video_path audio "
    "audios audio_path".split(),
    "non_text_part",
)
REFUSED_IN_ROWS = MEDIA | {
    **dict.fromkeys(("tools", "functions", "tool_calls", "function_call"), "tool_call"),
    **dict.fromkeys(("system", "system_prompt"), "ambiguous"),
    **dict.fromkeys(PREFERENCES, "preference"),
}
# What others call the functions and the calls of a turn.
CALL_KEYS = frozenset(
    "tools functions tool_call function_call function_calls toolCalls functionCall "
    "Tool_Calls".split()
)
REFUSED_IN_TURNS = MEDIA | {
    **dict.fromkeys(CALL_KEYS, "tool_call"),
    **dict.fromkeys(("from", "role", "value", "content"), "ambiguous"),
    **dict.fromkeys(PREFERENCES, "preference"),
}
# What a question may need that is not a column of its own in any format. In a row with turns these
# are metadata: the turns hold the whole question.
PARTS_OF_A_QUESTION = frozenset(
    "choices options passage passages document documents contexts background".split()
)
# False: the answer is one that people did not like (KTO).
LIKED = ("label", "kto_tag", "is_desirable", "desirable")
MOST = 50  # names that are counted: a file that uses keys for data would give millions
OTHERS = "(other keys)"


def check_extra_keys(
    row: schemas.Row, rule: str = "refuse", columns: Columns = NO_COLUMNS
) -> set[str]:
    """The names of the ignored keys: `KEY`, `turn.KEY` or `part.KEY`.

    rule: `data.reasoning`. Raises a Rejection that names the first key that must not be ignored.
    """
    ignored = _check_row(row, rule, columns) if row.model_extra else set()
    for _, where, turn in numbered(schemas.turns(row)):
        if turn.model_extra:
            ignored |= _check_turn(turn, where, rule)
        if isinstance(turn.content, list):
            for part in turn.content:
                ignored |= _check_part(part, where)
    return ignored


def _check_row(row: schemas.Row, rule: str, columns: Columns) -> set[str]:
    ignored = set()
    loss_mask.refuse_untrained_row(row.model_extra)
    refused = REFUSED_IN_ROWS
    if _is_named(row, columns):
        refused = {key: reason for key, reason in refused.items() if reason != "preference"}
    for key, value in _extras(row, refused, ""):
        if key in LIKED and str(value).strip().lower() in ("false", "0", "0.0"):
            raise Rejection(
                "preference", f"has `{key}` {value!r:.20}: an answer that people did not like (KTO)"
            )
        if reasoning.is_reasoning(key, value):
            _refuse_reasoning(key, "", rule)
            continue
        _check_text(row, key, value, columns)
        ignored.add(_printable(key))
    return ignored


def _is_named(row: schemas.Row, columns: Columns) -> bool:
    """Whether `data.columns` names what is read: the rest is left out on purpose."""
    return "user" in columns and isinstance(row, schemas.Alpaca)


def _check_text(row: schemas.Row, key: str, value: object, columns: Columns) -> None:
    """Rejection if a key holds text of the conversation that is not read."""
    if key in (columns.get("system"), columns.get("split"), columns.get("messages")):
        raise Rejection("ambiguous", f"has `{key}`, {WHY['ambiguous']}")
    if _is_named(row, columns):
        return
    name = key.strip().lower()
    if isinstance(row, schemas.Alpaca) and name in PARTS_OF_A_QUESTION:
        hint = ", or name it as `input` in data.columns" if isinstance(value, str) else ""
        raise Rejection(
            "lost_text", f"has `{key}`, which would be lost: write it into the question{hint}"
        )
    if is_turn_list(value) or (name in TEXT_KEYS and not _repeats(row, name, value)):
        raise Rejection(
            "ambiguous",
            f"has `{key}`, which says something else than the keys that are read; "
            "keep one of them, or name those to read in data.columns",
        )


def _repeats(row: schemas.Row, name: str, value: object) -> bool:
    """Whether a text only repeats what is read, as the `prompt` beside many `messages` does."""
    if name == "instruction" or not isinstance(value, str | int | float):
        return False
    return any(str(value).strip() in text for text in schemas.texts(row))


def _check_turn(turn: schemas.Turn, where: str, rule: str) -> set[str]:
    ignored = set()
    place = f"{where} ({turn.role:.40})"
    is_answer = role_of(turn.role) in ("gpt", "function_call")
    try:
        trained = loss_mask.wants_training(turn.model_extra)
    except Rejection as rejection:
        raise Rejection(rejection.reason, f"{place} {rejection.message}")
    if trained and not is_answer:
        raise Rejection("weight", f"{place} is to be trained on, but only answers can be")

    for key, value in _extras(turn, REFUSED_IN_TURNS, f"{where} "):
        if key in LIKED and value is False:
            raise Rejection("preference", f"{place} has `{key}` {value!r}")
        if is_answer and key == "channel" and value in ("analysis", "commentary"):
            raise Rejection("reasoning", f"{place} has `channel` {value!r}, which is no answer")
        if reasoning.is_reasoning(key, value):
            if not is_answer:
                raise Rejection("reasoning", f"{place} has `{key}`, which only an answer can have")
            _refuse_reasoning(key, f"{where} ", rule)
        elif key == "name" and role_of(turn.role) == "observation":
            continue  # of the function: `converter` reads it
        elif key not in loss_mask.KEYS or trained == is_answer:
            ignored.add(f"turn.{_printable(key)}")
    return ignored


def _check_part(part: schemas.Part, where: str) -> set[str]:
    ignored = set()
    for key, value in _extras(part, MEDIA, f"{where} "):
        if key in loss_mask.KEYS:
            raise Rejection("weight", f"{where} has `{key}` in a part of its text")
        if reasoning.is_reasoning(key, value) or (key == "thought" and value is True):
            _refuse_reasoning(key, f"{where} ", "refuse")
        ignored.add(f"part.{_printable(key)}")
    return ignored


def _refuse_reasoning(key: str, where: str, rule: str) -> None:
    if rule == "refuse":
        raise Rejection("reasoning", f"{where}has `{key}`; {reasoning.HINT}")


def _extras(
    model: schemas.Schema, refused: dict[str, str], where: str
) -> Iterator[tuple[str, object]]:
    """The extra keys that hold something, and their values. Rejection at the first refused one."""
    for key, value in (model.model_extra or {}).items():
        if is_nothing(value):
            continue
        if key in refused:
            raise Rejection(refused[key], f"{where}has `{key}`, {WHY[refused[key]]}")
        yield key, value


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
