"""Text of the conversation under keys that are not read: it would be lost, unless it only repeats
what is read.
"""

import re
from functools import lru_cache
from html import unescape

from gemma_finetune.data import schemas
from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.converter import to_turns
from gemma_finetune.data.key_words import all_in, split_words, words
from gemma_finetune.data.question_parts import (
    LETTERS,
    is_beside_turns,
    is_option,
    is_part,
    is_text_of_turn,
    texts_in,
)
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.roles import UNTRAINED, role_of
from gemma_finetune.data.row_keys import TEXT_KEYS, Columns, holds_system
from gemma_finetune.data.turn_list import is_turn_list, small

SAME_MEANING = "next to another key with the same meaning; keep one of them"
_TAGS, _MARKS = re.compile("</?[A-Za-z][^<>]*>"), re.compile(r"[\W_]+")
# What a system text is also called, but other things, too.
_LIKE_A_SYSTEM_TEXT = split_words("instructions persona personality preamble")
_LIKE_IT_TOGETHER = split_words("systemrole roleprompt personadescription characterprompt")
_BEFORE_IT = split_words("bot assistant ai agent model custom global developer additional extra")

# The answer to the last of the turns: `expected_output`, `ideal`, `generated_text`.
_ANSWER = split_words(
    "answer response output completion reply generation generated target ideal gold truth "
    "assistant expected"
)
_WHICH_ANSWER = split_words("final next reference ground correct best model bot ai text message")


def leaves_out(row: schemas.Row, columns: Columns) -> bool:
    """Whether `data.columns` names the texts or the turns: what else there is, is left out on
    purpose.
    """
    return "user" in columns or ("messages" in columns and isinstance(row, schemas.ChatML))


def refuse_unread_text(
    row: schemas.Row, key: str, name: str, value: object, columns: Columns
) -> None:
    """Rejection if a key holds text of the conversation that is not read. name: in small letters"""
    is_taken = key in (columns.get("system"), columns.get("split"), columns.get("messages"))
    if is_taken and not (is_turn_list(value) and _repeats_turns(row, value)):
        raise Rejection("ambiguous", f"has `{key}`, {SAME_MEANING}")
    if leaves_out(row, columns) and key != columns.get("input"):
        return
    if _ends_with_question(row) and _may_be_its_answer(key, value) and not _repeats(row, value):
        advice = "write it as the last turn; if not, name the turns as `messages` in data.columns"
        if isinstance(value, str):
            advice = (
                "name both in data.columns: the turns as `user`, the answer as `assistant`; if "
                "not, name the turns as `messages` there"
            )
        raise Rejection(
            "ambiguous",
            f"has `{key}` beside turns that end with a question; if it is the answer, {advice}",
        )
    part = key == columns.get("input") or _is_part(row, key, value)
    is_lost = part or _is_system_text(row, key, value)
    is_known = name in TEXT_KEYS or holds_system(key, value)
    is_column = is_known and not _is_metadata(row, name, value)
    if not (is_lost or is_column or is_turn_list(value)) or _repeats(row, value, in_pieces=part):
        return
    has_columns = isinstance(row, schemas.Alpaca | schemas.ChatPair)
    rest = ""
    if schemas.turns(row) and not has_columns:
        rest = ", or name `messages` in data.columns, which leaves the others out"
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


def _ends_with_question(row: schemas.Row) -> bool:
    turns = schemas.turns(row)
    return bool(turns) and role_of(turns[-1].role) == "human"


def _may_be_its_answer(key: str, value: object) -> bool:
    """Whether a key beside turns may hold the answer to the last of them."""
    if isinstance(value, list):  # as an interface returns it: `[{"message": {…}}]`
        said = any(isinstance(item, dict) and "message" in item for item in value)
        return said and small(key) == "choices"
    if not isinstance(value, str | dict):
        return False
    found = words(key)
    return not _ANSWER.isdisjoint(found) and all_in(found, _ANSWER, _WHICH_ANSWER)


def _is_metadata(row: schemas.Row, name: str, value: object) -> bool:
    """Whether a value under a name of a column is a number or a boolean that cannot be text of the
    conversation.
    """
    is_number = isinstance(value, int | float)
    return is_number and (name == "context" or not isinstance(row, schemas.Alpaca))


def _is_system_text(row: schemas.Row, key: str, value: object) -> bool:
    """Whether a key holds what may be a system text. Beside turns a persona is metadata, and so are
    instructions where a system text is read.
    """
    name = _like_a_system_text(key)
    if name is None or isinstance(value, int | float):
        return False
    return isinstance(row, schemas.Alpaca) or (name == "instructions" and not _has_system(row))


@lru_cache(10_000)
def _like_a_system_text(key: str) -> str | None:
    if "".join(words(key)) in _LIKE_IT_TOGETHER:
        return "persona"
    *before, last = words(key) or ("",)
    return last if last in _LIKE_A_SYSTEM_TEXT and all_in(before, _BEFORE_IT) else None


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


def is_read(row: schemas.Row, value: object) -> bool:
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


def is_lost_beside(turn: schemas.Turn, key: str, value: object, row: schemas.Row) -> bool:
    """Whether a key holds text of a turn with other text, and no turn of the row has it. Without
    other text, `turns` names the key.

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
    if _is_within(schemas.texts_of(turn), value):
        return False
    return not _repeats(row, value, in_pieces=True)
