"""Keys of a row that its format does not know.

A key that changes the meaning of the row is refused by name, in any case: dropping it would train
on something that the row does not say. `loss_mask` and `reasoning` say which of their keys are
honoured instead. Most keys are told by their words (`key_words`) and by what they hold. Other keys,
such as id, topic or source, are ignored and counted.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from html import unescape

from gemma_finetune.data import loss_mask, reasoning, schemas
from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.converter import UNTRAINED, numbered, role_of, to_turns
from gemma_finetune.data.key_words import all_in, split_words, words
from gemma_finetune.data.preferences import is_disliked, is_second_answer
from gemma_finetune.data.question_parts import (
    LETTERS,
    is_beside_turns,
    is_option,
    is_part,
    is_text_of_turn,
    texts_in,
)
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.row_keys import (
    COLUMNS,
    NO_COLUMNS,
    TEXT_KEYS,
    Columns,
    holds_system,
    is_empty,
)
from gemma_finetune.data.turn_list import is_turn_list, small

WHY = {
    "tool_call": "and calls are read from `tools` and `tool_calls` of rows with turns",
    "non_text_part": "which a text model cannot see",
    "ambiguous": "next to another key with the same meaning; keep one of them",
    "reasoning": "which only an answer can have",
    "preference": "which is preference data (DPO): keep the better answer alone",
}
# Of words written together, in small letters.
MEDIA = re.compile(
    "(image|img|picture|photo|video|audio|attachment)s?(url|path|file|data|bytes|base64)?s?"
)
CALLS = re.compile("tools|functions|(tool|function)calls?")
# Other keys of a turn that `schemas` has left because their place is taken.
SAME_AS_A_TURNS = frozenset(("from", "role", "value", "content"))
_TAGS, _MARKS = re.compile("</?[A-Za-z][^<>]*>"), re.compile(r"[\W_]+")
# What a system text is also called, but other things, too.
LIKE_A_SYSTEM_TEXT = split_words("instructions persona personality preamble")
LIKE_IT_TOGETHER = split_words("systemrole roleprompt personadescription characterprompt")
BEFORE_IT = split_words("bot assistant ai agent model custom global developer additional extra")
_LEAVES_OUT = "`messages` in data.columns, which leaves the others out"
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
    loss_mask.refuse_untrained_row(row.model_extra)
    is_named = "user" in columns  # the rest is left out on purpose
    for key, name, value in _extras(row, ""):
        if is_second_answer(key, value) and not _is_read(row, value):
            if not (is_named or _has_named_turns(row, columns)):
                why = f"{WHY['preference']}, or name it in data.columns"
                raise Rejection("preference", f"has `{key}`, {why}")
            if key not in columns.values():
                ignored.add(_printable(key))
                continue
        if not is_named:
            _refuse_bad(key, value, "")
        if is_disliked(key, value) and not is_named:
            raise Rejection(
                "preference", f"has `{key}` {value!r:.20}: an answer that people did not like (KTO)"
            )
        if reasoning.is_reasoning(key, value):
            _refuse_reasoning(key, "", rule)
            continue
        _check_text(row, key, name, value, columns)
        ignored.add(_printable(key))
    return ignored


def _has_named_turns(row: schemas.Row, columns: Columns) -> bool:
    """Whether `data.columns` names the turns: other answers are left out on purpose."""
    return "messages" in columns and isinstance(row, schemas.ChatML)


def _refuse_bad(key: str, value: object, where: str) -> None:
    if loss_mask.is_marked_bad(key, value):
        raise Rejection(
            "untrained", f"{where}has `{key}` {value!r:.20}: people set it aside; remove the row"
        )


def _check_text(row: schemas.Row, key: str, name: str, value: object, columns: Columns) -> None:
    """Rejection if a key holds text of the conversation that is not read. name: in small letters"""
    is_taken = key in (columns.get("system"), columns.get("split"), columns.get("messages"))
    if is_taken and not (is_turn_list(value) and _repeats_turns(row, value)):
        raise Rejection("ambiguous", f"has `{key}`, {WHY['ambiguous']}")
    is_left_out = "user" in columns or _has_named_turns(row, columns)
    if is_left_out and key != columns.get("input"):
        return
    part = key == columns.get("input") or _is_part(row, key, value)
    is_lost = part or _is_system_text(row, key, value)
    has_columns = isinstance(row, schemas.Alpaca | schemas.ChatPair)
    rest = f", or name {_LEAVES_OUT}" if schemas.turns(row) and not has_columns else ""
    is_known = name in TEXT_KEYS or holds_system(key, value)
    is_column = is_known and not _is_metadata(row, name, value)
    if not (is_lost or is_column or is_turn_list(value)) or _repeats(row, value, in_pieces=part):
        return
    if not is_lost or is_turn_list(value):
        raise Rejection(
            "ambiguous",
            f"has `{key}`, which says something else than the keys that are read; "
            f"keep one of them{rest or ', or name those to read in data.columns'}",
        )
    place, field = ("question", "input") if part else ("system text", "system")
    is_one = isinstance(value, str) and not _is_one_of_several(key)
    hint = ""
    if is_one and (isinstance(row, schemas.Alpaca) or field == "system"):
        hint = f", or name it as `{field}` in data.columns"
    if has_columns:
        rest = "; with `user` and `assistant` in data.columns, columns not named there are left out"
    raise Rejection(
        "lost_text", f"has `{key}`, which would be lost: write it into the {place}{hint}{rest}"
    )


def _is_number(value: object) -> bool:
    """Whether it is a number or a boolean: where a text could be, it is metadata."""
    return isinstance(value, int | float)


def _is_metadata(row: schemas.Row, name: str, value: object) -> bool:
    """Whether a value under a name of a column cannot be text of the conversation."""
    return _is_number(value) and (name == "context" or not isinstance(row, schemas.Alpaca))


def _is_system_text(row: schemas.Row, key: str, value: object) -> bool:
    """Whether a key holds what may be a system text. Beside turns a persona is metadata, and so are
    instructions where a system text is read.
    """
    name = _like_a_system_text(key)
    if name is None or _is_number(value):
        return False
    return isinstance(row, schemas.Alpaca) or (name == "instructions" and not _has_system(row))


@lru_cache(10_000)
def _like_a_system_text(key: str) -> str | None:
    if "".join(words(key)) in LIKE_IT_TOGETHER:
        return "persona"
    *before, last = words(key) or ("",)
    return last if last in LIKE_A_SYSTEM_TEXT and all_in(before, BEFORE_IT) else None


def _has_system(row: schemas.Row) -> bool:
    if isinstance(row, schemas.ChatMLText):
        return "<|im_start|>system" in row.text
    return bool(row.system) or any(role_of(turn.role) == "system" for turn in schemas.turns(row))


def _is_part(row: schemas.Row, key: str, value: object) -> bool:
    """Whether a key holds a part of the question, or text that the turns are about."""
    name = small(key)
    if name in TEXT_KEYS:
        return False
    if not isinstance(row, schemas.Alpaca):
        return is_beside_turns(key, value)
    if name in LETTERS:
        extra = (row.model_extra or {}).items()
        options = [option for other, option in extra if small(other) in LETTERS]
        return len(options) > 1 and any(isinstance(option, str) for option in options)
    return is_part(key, value)


def _is_one_of_several(key: str) -> bool:
    """Whether it is an option or a numbered part, which alone is not the question's input."""
    last = words(key)[-1]
    return last in LETTERS or last.isdigit() or is_option(key)


def _repeats(row: schemas.Row, value: object, in_pieces: bool = False) -> bool:
    """Whether a value only repeats what is read: a part of it, as the `prompt` beside `messages`;
    all of it, as the `text` of Alpaca; or turns, as the `conversations` of Magpie. in_pieces:
    also a list or an object, if all texts in it are read.
    """
    if is_turn_list(value):
        return _repeats_turns(row, value)
    texts = schemas.texts(row)
    if _is_within(texts, value, in_pieces):
        return True
    return isinstance(value, str) and all(read.strip() in value for read in texts)


def _is_within(texts: list[str], value: object, in_pieces: bool = True) -> bool:
    """Whether one of the texts holds a value; in_pieces: or, for each text in it, one does. Case,
    tags, marks and white space do not count in texts of more than three letters.
    """
    if in_pieces and isinstance(value, list | dict):
        found = list(texts_in(value)) or list(value)  # options may be numbers
        return all(_is_within(texts, text, False) for text in found)
    if not isinstance(value, str | int | float):
        return False
    text = str(value).strip()
    if any(text in read for read in texts):
        return True
    bare = _bare(text)
    others = map(_bare, texts) if bare else ()
    return any(bare in read if len(bare) > 3 else bare == read for read in others)


def _bare(text: str) -> str:
    """The text's letters and digits alone, in one case."""
    return _MARKS.sub("", unescape(_TAGS.sub("", text))).casefold()


def _is_read(row: schemas.Row, value: object) -> bool:
    """Whether a value is one of the whole texts that are read, or turns that are."""
    return _repeats_turns(row, value) if is_turn_list(value) else value in schemas.texts(row)


def _repeats_turns(row: schemas.Row, value: object) -> bool:
    """Whether each turn of a list has its role and text among those that are read."""
    try:
        other = schemas.read({"messages": value}, "chatml")
        turns = to_turns(other, "drop")
    except Rejection:
        return False
    plain = not any(turn.model_extra or turn.tool_calls for turn in schemas.turns(other))
    known = set(to_turns(row, "drop"))
    known |= {("gpt", text) for role, text in known if role == UNTRAINED}
    return plain and known.issuperset(turns)


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
            raise Rejection("ambiguous", f"{where} has `{key}`, {WHY['ambiguous']}")
        if is_second_answer(key, value):
            raise Rejection("preference", f"{where} has `{key}`, {WHY['preference']}")
        _refuse_bad(key, value, f"{place} ")
        if is_answer and is_disliked(key, value):
            raise Rejection("preference", f"{place} has `{key}` {value!r}")
        if is_answer and name == "channel" and value in ("analysis", "commentary"):
            raise Rejection("reasoning", f"{place} has `channel` {value!r}, which is no answer")
        if reasoning.is_reasoning(key, value):
            if not is_answer:
                raise Rejection("reasoning", f"{place} has `{key}`, {WHY['reasoning']}")
            _refuse_reasoning(key, f"{where} ", rule)
        elif name == "name" and role_of(turn.role) == "observation":
            continue  # of the function: `converter` reads it
        elif _is_lost_beside(turn, key, value) and not _repeats(row, value, in_pieces=True):
            if is_answer:
                raise Rejection("ambiguous", f"{place} has `{key}`, {WHY['ambiguous']}")
            raise Rejection(
                "lost_text", f"{place} has `{key}`, which would be lost: write it into the text"
            )
        elif trained == is_answer or not loss_mask.speaks(key, is_answer):
            ignored.add(f"turn.{_printable(key)}")
    return ignored


def _is_lost_beside(turn: schemas.Turn, key: str, value: object) -> bool:
    """Whether a key holds text of a turn with other text. Without, `converter` names the key.

    One word beside an answer says why it ended, as `"completion": "stop"`.
    """
    role = role_of(turn.role)
    if role not in ("human", "system", "gpt") or is_nothing(turn.content):
        return False
    is_answer = role == "gpt"
    if not is_text_of_turn(key, value, is_answer):
        return False
    if is_answer and all(text.isascii() and len(text.split()) < 2 for text in texts_in(value)):
        return False
    return not _is_within(schemas.texts_of(turn), value)


def _check_part(part: schemas.Part, where: str, rule: str | None) -> set[str]:
    """rule: of an answer, `data.reasoning`."""
    ignored = set()
    for key, name, value in _extras(part, f"{where} "):
        if loss_mask.sense(key):
            raise Rejection("weight", f"{where} has `{key}` in a part of its text")
        if reasoning.is_reasoning(key, value) or (name == "thought" and value is True):
            if not rule:
                raise Rejection("reasoning", f"{where} has `{key}`, {WHY['reasoning']}")
            _refuse_reasoning(key, f"{where} ", rule)
            continue
        ignored.add(f"part.{_printable(key)}")
    return ignored


def _refuse_reasoning(key: str, where: str, rule: str) -> None:
    if rule == "refuse":
        raise Rejection("reasoning", f"{where}has `{key}`; {reasoning.HINT}")


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
        if reason and not (reason == "non_text_part" and _is_number(value)):
            raise Rejection(reason, f"{where}has `{key}`, {WHY[reason]}")
        yield key, name, value


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
