"""Raw turns in one form: known keys in small letters, and content as text or as content parts."""

import json
from typing import Any

import orjson

from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.exchanges import as_turn_list
from gemma_finetune.data.reasoning_keys import REASONING_PARTS
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.roles import JSON_ROLES, role_of
from gemma_finetune.data.turn_list import (
    AS_PYTHON,
    TURN_KEYS,
    asks,
    asks_in_python,
    known_name,
    renamed,
    unpacked,
)

TEXT_PARTS = ("text", "input_text", "output_text")  # as OpenAI's two interfaces call them
# What a text part may hold besides, as Anthropic's and MCP's do.
TEXT_PART_KEYS = {"type", "text", "id", "annotations", "cache_control", "_meta"}
# Parts that are no text, as OpenAI, Anthropic, MCP and Hugging Face call them -> the keys that can
# hold the content. One is required, because a function's own data may have such a `type`.
_FILE_KEYS = {"source", "data", "base64", "url", "path", "file_id"}
MEDIA_PARTS = {
    "image": {"image", "image_url", *_FILE_KEYS},
    "image_url": {"image_url", *_FILE_KEYS},
    "input_image": {"image_url", *_FILE_KEYS},
    "audio": {"audio", "audio_url", *_FILE_KEYS},
    "audio_url": {"audio_url"},
    "input_audio": {"input_audio"},
    "video": {"video", "video_url", *_FILE_KEYS},
    "video_url": {"video_url"},
    "file": {"file", "file_id", "file_data"},
    "input_file": {"file_id", "file_data", "file_url"},
    "document": {"source"},
    "resource": {"resource"},
}
_OBJECTS = {"source", "resource", "file", "input_audio"}  # keys whose content is an object
_USUAL_TURNS = ({"role", "content"}, {"from", "value"})
_ALIASES = (("from", "role"), ("value", "content"))  # of a turn's keys
_CONTENT = frozenset(("value", "content"))
_PLACES = {"url", "path"}  # keys that are content only where a part has nothing else


def tidy_turns(turns: list) -> list:
    return [_tidy(turn) for turn in _with_parts(as_turn_list(turns))]


def _with_parts(turns: list) -> list:
    """The turns; content parts as JSON text, as tables have them, become parts. In an answer they
    do if all texts of the row are so written: else it may be what was asked for. Calls and their
    results stay.
    """
    texts = (value for turn in turns if isinstance(turn, dict) for value in turn.values())
    if not any(map(_is_list_text, texts)):
        return turns
    found = {}  # {place of a turn: the key of its content, and the parts in it}
    for place, turn in enumerate(turns):
        key = _content_key(turn) if isinstance(turn, dict) and not _is_of_calls(turn) else None
        if key is not None:
            found[place] = key, _parts_in(turn[key])
    everywhere = all(parts for _, parts in found.values())
    turns = list(turns)
    for place, (key, parts) in found.items():
        if parts and (everywhere or asks(turns[place])):
            turns[place] = turns[place] | {key: parts}
    return turns


def _tidy(turn: Any) -> Any:
    """A raw turn with known keys in small letters; of keys that say the same, those that hold
    something, as in tables of several sources. Calls and results become JSON text.
    """
    if not isinstance(turn, dict):
        return turn
    if any(map(_is_json, turn.values())):
        turn = _with_json_text(turn)
    if any(map(_is_list_text, turn.values())) and asks_in_python(turn):
        raise Rejection("schema", f"the text of a turn is a list{AS_PYTHON}")
    if turn.keys() in _USUAL_TURNS:
        return turn
    tidy = {key: value for key, value in turn.items() if value is not None}
    taken = {name for names in _ALIASES if any(map(tidy.get, names)) for name in names}
    known = TURN_KEYS - taken
    names = {key: known_name(key, known) for key in tidy}
    return renamed(tidy, names, _CONTENT)


def _parts_in(text: Any) -> list | None:
    """The content parts that JSON text holds, or None."""
    parts = unpacked(text) if _is_list_text(text) else None
    return parts if _is_parts(parts) or _is_thought_out(parts) else None


def _content_key(turn: dict) -> str | None:
    """The key of a turn's content, if it holds something."""
    names = (key for key in turn if known_name(key, TURN_KEYS) in _CONTENT)
    return next((key for key in names if not is_nothing(turn[key])), None)


def _is_thought_out(value: Any) -> bool:
    """Whether it is a list of parts of reasoning and of text."""
    if not isinstance(value, list):
        return False
    texts = [_is_text_part(part) for part in value]
    thoughts = [isinstance(part, dict) and part.get("type") in REASONING_PARTS for part in value]
    return any(texts) and all(map(max, texts, thoughts))


def _is_list_text(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("[{")


def _is_json(value: Any) -> bool:
    """Whether it is JSON other than text and null (a bool is an int)."""
    return isinstance(value, dict | list | int | float)


def _is_of_calls(turn: dict) -> bool:
    role = next((turn[key] for key in turn if known_name(key, TURN_KEYS) in ("from", "role")), None)
    return isinstance(role, str) and role_of(role) in JSON_ROLES


def _with_json_text(turn: dict) -> dict:
    """The turn; calls and results that are no text and no content parts become JSON text."""
    if not _is_of_calls(turn):
        return turn
    texts = {}
    for key, value in turn.items():
        is_content = known_name(key, TURN_KEYS) in _CONTENT
        if is_content and isinstance(value, dict) and _is_media(value):
            value = [value]
        is_json = is_content and _is_json(value) and not _is_parts(value)
        texts[key] = json_text(value) if is_json else value
    return texts


def json_text(value: Any) -> str:
    if isinstance(value, float):
        return json.dumps(value)  # `tool_rows` takes a number in another spelling for text
    return orjson.dumps(value).decode()


def _is_parts(value: Any) -> bool:
    """Whether a result is a list of content parts, and not data: all are text, or one is media."""
    if not isinstance(value, list) or not value:
        return False
    return all(map(_is_text_part, value)) or any(map(_is_media, value))


def _is_text_part(part: Any) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("text"), str):
        return False
    return part.get("type") in TEXT_PARTS and _full_keys(part) <= TEXT_PART_KEYS


def _is_media(part: Any) -> bool:
    """Whether an object is a content part with an image, a recording or a file in it."""
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return False
    full = _full_keys(part)
    content = MEDIA_PARTS.get(part["type"], set()) & full
    if full - _PLACES - {"type"}:
        content -= _PLACES
    return any(key not in _OBJECTS or isinstance(part[key], dict) for key in content)


def _full_keys(part: dict) -> set[str]:
    """The keys that hold something: a table has the keys of all kinds of parts."""
    return {key for key, value in part.items() if not is_nothing(value)}
