"""Keys of a row that its format does not know.

A key that changes the meaning of the row is refused by name, in any case: dropping it would train
on something that the row does not say. `loss_mask` and `reasoning` say which of their keys are
honoured instead. Other keys, such as id, topic or source, are ignored and counted.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache

from gemma_finetune.data import loss_mask, reasoning, schemas
from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.converter import UNTRAINED, numbered, role_of, to_turns
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.row_guess import PREFERENCES
from gemma_finetune.data.row_keys import COLUMNS, NO_COLUMNS, TEXT_KEYS, Columns, is_empty
from gemma_finetune.data.turn_list import is_turn_list, small

WHY = {
    "tool_call": "and calls are read from `tools` and `tool_calls` of rows with turns",
    "non_text_part": "which a text model cannot see",
    "ambiguous": "next to another key with the same meaning; keep one of them",
    "preference": "which is preference data (DPO): keep the better answer alone",
}
MEDIA = dict.fromkeys(
    "image images image_url imageurl image_urls image_path image_paths img imgs picture pictures "
    "photo photos video videos video_path audio audios audio_path attachment attachments".split(),
    "non_text_part",
)
REFUSED_IN_ROWS = MEDIA | {
    **dict.fromkeys(("tools", "functions", "tool_calls", "function_call"), "tool_call"),
    **dict.fromkeys(PREFERENCES, "preference"),
}
# What others call the functions and the calls of a turn.
CALL_KEYS = frozenset(
    "tools functions tool_call tool_calls toolcalls function_call function_calls "
    "functioncall".split()
)
REFUSED_IN_TURNS = MEDIA | {
    **dict.fromkeys(CALL_KEYS, "tool_call"),
    **dict.fromkeys(("from", "role", "value", "content"), "ambiguous"),
    **dict.fromkeys(PREFERENCES, "preference"),
}
# What a question may need that is not a column of its own in any format. In a row with turns these
# are metadata: the turns hold the whole question.
PARTS_OF_A_QUESTION = frozenset(
    "text choices options passage passages passage_text document documents document_text "
    "contexts background article articles body content source_text paragraph paragraphs story "
    "excerpt snippet abstract transcript email sentence sentences code schema db_schema "
    "sql_context table tables knowledge evidence facts supporting_facts premise "
    "hypothesis aspect target dialog dialogs dialogue chat_history chathistory "
    "conversation_history dialog_history dialogue_history message_history previous_messages "
    "past_messages previous_turns".split()
)
# `option_a`, `choice1`, `opa`, `text2`; columns A, B, C, ... are told by there being more than one.
NUMBERED_PART = re.compile(
    r"(option|choice|opt|op|distractor|candidate|ending)s?_?([a-h]|\d+)"
    r"|(text|sentence|passage|paragraph|document|context|article)_?\d+"
)
LETTERS = frozenset("abcdefgh")
# What a system text is also called, but other things, too.
LIKE_A_SYSTEM_TEXT = frozenset("instructions persona personality".split())
# False: the answer is one that people did not like (KTO). Only KTO's own names may hold 0 for it.
KTO = frozenset(("label", "kto_tag"))
LIKED = KTO | frozenset("is_desirable desirable liked thumbs_up is_chosen".split())
UNLIKED = ("rejected", "undesirable", "dispreferred")
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
    is_named = _is_named(row, columns)
    if is_named:
        refused = {key: reason for key, reason in refused.items() if reason != "preference"}
    for key, name, value in _extras(row, refused, ""):
        if name in loss_mask.MARKS and not is_named:
            _refuse_bad(key, name, value, "")
        if _is_disliked(name, value) and not is_named:
            raise Rejection(
                "preference", f"has `{key}` {value!r:.20}: an answer that people did not like (KTO)"
            )
        if reasoning.is_reasoning(key, value):
            _refuse_reasoning(key, "", rule)
            continue
        _check_text(row, key, name, value, columns)
        ignored.add(_printable(key))
    return ignored


def _is_named(row: schemas.Row, columns: Columns) -> bool:
    """Whether `data.columns` names what is read: the rest is left out on purpose."""
    return "user" in columns and isinstance(row, schemas.Alpaca)


def _is_disliked(name: str, value: object) -> bool:
    if name not in LIKED:
        return False
    flag = loss_mask.to_flag(value) if name in KTO else loss_mask.to_word(value)
    return flag is False or str(value).strip().lower() in UNLIKED


def _refuse_bad(key: str, name: str, value: object, where: str) -> None:
    if loss_mask.is_marked_bad(name, value):
        raise Rejection(
            "untrained", f"{where}has `{key}` {value!r:.20}: people set it aside; remove the row"
        )


def _check_text(row: schemas.Row, key: str, name: str, value: object, columns: Columns) -> None:
    """Rejection if a key holds text of the conversation that is not read. name: in small letters"""
    if key in (columns.get("system"), columns.get("split"), columns.get("messages")):
        raise Rejection("ambiguous", f"has `{key}`, {WHY['ambiguous']}")
    if _is_named(row, columns):
        return
    is_part = _is_part(row, name, value)
    is_lost = is_part or _is_system_text(row, name, value)
    is_column = name in TEXT_KEYS and not _is_metadata(row, name, value)
    if not (is_lost or is_column or is_turn_list(value)) or _repeats(row, value):
        return
    if not is_lost or is_turn_list(value):
        raise Rejection(
            "ambiguous",
            f"has `{key}`, which says something else than the keys that are read; "
            "keep one of them, or name those to read in data.columns",
        )
    place, field = ("question", "input") if is_part else ("system text", "system")
    is_one = isinstance(value, str) and (name in PARTS_OF_A_QUESTION or field == "system")
    hint = f", or name it as `{field}` in data.columns" if is_one else ""
    rest = "; with `user` and `assistant` in data.columns, columns not named there are left out"
    raise Rejection(
        "lost_text",
        f"has `{key}`, which would be lost: write it into the {place}{hint}"
        f"{rest if isinstance(row, schemas.Alpaca) else ''}",
    )


def _is_number(value: object) -> bool:
    """Whether it is a number or a boolean: where a text could be, it is metadata."""
    return isinstance(value, int | float)


def _is_metadata(row: schemas.Row, name: str, value: object) -> bool:
    """Whether a value under a name of a column cannot be text of the conversation."""
    return _is_number(value) and (name == "context" or not isinstance(row, schemas.Alpaca))


def _is_system_text(row: schemas.Row, name: str, value: object) -> bool:
    """Whether a key, in small letters, holds what may be a system text. Beside turns a persona is
    metadata, and so are instructions where a system text is read.
    """
    if name not in LIKE_A_SYSTEM_TEXT or _is_number(value):
        return False
    return isinstance(row, schemas.Alpaca) or (name == "instructions" and not _has_system(row))


def _has_system(row: schemas.Row) -> bool:
    if isinstance(row, schemas.ChatMLText):
        return "<|im_start|>system" in row.text
    return bool(row.system) or any(role_of(turn.role) == "system" for turn in schemas.turns(row))


def _is_part(row: schemas.Row, name: str, value: object) -> bool:
    """Whether a key, in small letters, holds a part of the question of a row without turns."""
    if not isinstance(row, schemas.Alpaca):
        return False
    if name in LETTERS:
        extra = (row.model_extra or {}).items()
        options = [option for key, option in extra if small(key) in LETTERS]
        return len(options) > 1 and any(isinstance(option, str) for option in options)
    if name in PARTS_OF_A_QUESTION:
        return not _is_number(value)
    return _is_numbered_part(name)


@lru_cache(1000)
def _is_numbered_part(name: str) -> bool:
    return NUMBERED_PART.fullmatch(name) is not None


def _repeats(row: schemas.Row, value: object) -> bool:
    """Whether a value only repeats what is read: a part of it, as the `prompt` beside `messages`;
    all of it, as the `text` of Alpaca; or turns, as the `conversations` of Magpie.
    """
    if is_turn_list(value):
        return _repeats_turns(row, value)
    if not isinstance(value, str | int | float):
        return False
    text, texts = str(value).strip(), schemas.texts(row)
    return any(text in read for read in texts) or all(read.strip() in text for read in texts)


def _repeats_turns(row: schemas.Row, value: object) -> bool:
    """Whether each turn of a list has its role and text among those that are read."""
    try:
        other = schemas.read({"messages": value}, "chatml")
        turns = to_turns(other)
    except Rejection:
        return False
    plain = not any(turn.model_extra or turn.tool_calls for turn in schemas.turns(other))
    known = set(to_turns(row))
    known |= {("gpt", text) for role, text in known if role == UNTRAINED}
    return plain and known.issuperset(turns)


def _check_turn(turn: schemas.Turn, where: str, rule: str) -> set[str]:
    ignored = set()
    place = f"{where} ({turn.role:.40})"
    is_answer = role_of(turn.role) in ("gpt", "function_call")
    names = loss_mask.KEYS if is_answer else loss_mask.QUESTION_KEYS
    try:
        trained = loss_mask.wants_training(turn.model_extra, names)
    except Rejection as rejection:
        raise Rejection(rejection.reason, f"{place} {rejection.message}")
    if trained and not is_answer:
        raise Rejection("weight", f"{place} is to be trained on, but only answers can be")

    for key, name, value in _extras(turn, REFUSED_IN_TURNS, f"{where} "):
        if name in loss_mask.MARKS:
            _refuse_bad(key, name, value, f"{place} ")
        if is_answer and _is_disliked(name, value):
            raise Rejection("preference", f"{place} has `{key}` {value!r}")
        if is_answer and name == "channel" and value in ("analysis", "commentary"):
            raise Rejection("reasoning", f"{place} has `channel` {value!r}, which is no answer")
        if reasoning.is_reasoning(key, value):
            if not is_answer:
                raise Rejection("reasoning", f"{place} has `{key}`, which only an answer can have")
            _refuse_reasoning(key, f"{where} ", rule)
        elif name == "name" and role_of(turn.role) == "observation":
            continue  # of the function: `converter` reads it
        elif name not in names or trained == is_answer:
            ignored.add(f"turn.{_printable(key)}")
    return ignored


def _check_part(part: schemas.Part, where: str) -> set[str]:
    ignored = set()
    for key, name, value in _extras(part, MEDIA, f"{where} "):
        if name in loss_mask.KEYS:
            raise Rejection("weight", f"{where} has `{key}` in a part of its text")
        if reasoning.is_reasoning(key, value) or (name == "thought" and value is True):
            _refuse_reasoning(key, f"{where} ", "refuse")
        ignored.add(f"part.{_printable(key)}")
    return ignored


def _refuse_reasoning(key: str, where: str, rule: str) -> None:
    if rule == "refuse":
        raise Rejection("reasoning", f"{where}has `{key}`; {reasoning.HINT}")


def _extras(
    model: schemas.Schema, refused: dict[str, str], where: str
) -> Iterator[tuple[str, str, object]]:
    """(key, key in small letters, value) of the extra keys that hold something.

    Rejection at the first refused one.
    """
    for key, value in (model.model_extra or {}).items():
        name = small(key)
        is_text = isinstance(model, schemas.Alpaca) and name in COLUMNS and isinstance(value, str)
        if is_empty(name, value) if is_text else is_nothing(value):
            continue
        if name in refused and not (name in MEDIA and _is_number(value)):
            raise Rejection(refused[name], f"{where}has `{key}`, {WHY[refused[name]]}")
        yield key, name, value


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
