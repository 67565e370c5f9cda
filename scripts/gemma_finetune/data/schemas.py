"""The raw formats as pydantic models, and which of them a row is in.

A format is named as in `data.format` and in the metrics: sharegpt, alpaca, chatml, columns. What a
conversation may hold is decided in `converter`.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import orjson
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gemma_finetune.data.blank import is_missing_input, is_nothing
from gemma_finetune.data.reasoning import REASONING_PARTS
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.row_guess import missing, unknown_format
from gemma_finetune.data.row_keys import NO_COLUMNS, Columns, detect, pair_keys
from gemma_finetune.data.split import canonical_split
from gemma_finetune.data.turn_list import (
    TURN_KEYS,
    as_turns,
    asks,
    asks_again,
    asks_in_python,
    begins_with,
    is_python_turns,
    is_turn_list,
    known_name,
    renamed,
    unpacked,
)

Split = Annotated[Literal["train", "validation", "test"], BeforeValidator(canonical_split)]
# Roles of turns that hold calls or their results, in small letters.
CALL_ROLES = {"function_call": "function_call", "observation": "observation", "tool": "observation"}
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
EXCEL_ERRORS = ("#N/A", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!", "#SPILL!")
AS_PYTHON = " written as Python: write it with json.dumps"
OPTIONAL = ("system", "split", "history", "tools")


class Schema(BaseModel):
    """Strict: a number is not text. Unknown keys go to `model_extra`, for `extra_keys` to judge."""

    model_config = ConfigDict(strict=True, extra="allow")


class Part(Schema):
    """One of OpenAI's content parts; only text has a place in a text model."""

    type: str = "text"
    text: str | None = None


class Turn(Schema):
    """One turn. ShareGPT files also have ChatML's keys, and the other way round."""

    role: Annotated[str, Field(validation_alias=AliasChoices("from", "role"))]
    content: Annotated[
        str | list[Part] | None, Field(validation_alias=AliasChoices("value", "content"))
    ] = None
    tool_calls: Any = None
    tool_call_id: Any = None


class Row(Schema):
    """What a row of any format may hold next to its turns."""

    system: str | None = None
    split: Split | None = None


class Chat(Row):
    """A row with turns, which may have functions to call."""

    tools: Any = None


class ShareGPT(Chat):
    """`{"conversations": [{"from": "human", "value": "…"}, …], "system": "…"?, "tools": …?}`"""

    conversations: list[Turn]


class ChatML(Chat):
    """`{"messages": [{"role": "user", "content": "…"}, …], "tools": …?}`, as OpenAI has it."""

    messages: list[Turn]


class ChatPair(ChatML):
    """A row whose columns of question and answer hold lists of turns."""


class ChatMLText(Row):
    """`{"text": "<|im_start|>user\\n…<|im_end|>\\n…"}`, or only the string."""

    text: str


class Alpaca(Row):
    """`{"instruction": "…", "input": "…"?, "output": "…", "history": [["…", "…"], …]?}`

    Also a row of the format columns, once `read` knows which column is which.
    """

    instruction: str
    input: str | None = None
    output: str
    history: list[Annotated[list[str], Field(min_length=2, max_length=2)]] | None = None


FORMATS: dict[str, type[Row]] = {
    "sharegpt": ShareGPT,
    "alpaca": Alpaca,
    "chatml": ChatML,
    "columns": Alpaca,
}


def read(row: dict, format: str, columns: Columns = NO_COLUMNS) -> Row:
    """The prepared row as a model of its format.

    Rejection `schema` says which key is wrong, and how.
    """
    if format in ("alpaca", "columns"):
        return _read_pair(row, format, columns)
    model = FORMATS[format]
    if format == "chatml" and row.get("messages") is None and "text" in row:
        model = ChatMLText
    return _validated(model, row, {}, row)


def _read_pair(row: dict, format: str, columns: Columns) -> Row:
    """A row with columns for a question, for its answer, and for what belongs to the question."""
    keys = pair_keys(row, format, columns)
    if format == "columns" and not {"instruction", "output"} <= keys.keys():
        raise unknown_format(row, keys.get("instruction"), keys.get("output"))

    used = set(keys.values())
    if "input" in keys and is_missing_input(row[keys["input"]]):
        del keys["input"]
    data = {key: row[key] for key in ("system", "split") if key in row}
    extra = {key: value for key, value in row.items() if key not in used and key not in data}
    for field, key in keys.items():
        data[field] = row[key] if field == "history" else _column_text(key, row[key])
        if data[field] in EXCEL_ERRORS:
            raise Rejection(
                "schema", f"{key}: holds {data[field]!r}, an error of Excel, not a text"
            )
    question, answer = as_turns(data.get("instruction"), data.get("output"), keys)
    if is_python_turns(question):
        is_list = is_python_turns(answer) or is_turn_list(answer)
        if is_list or keys["instruction"] == "prompt":
            raise Rejection("schema", f"{keys['instruction']} is a list{AS_PYTHON}")
    if is_turn_list(question) or is_turn_list(answer):
        if "input" in data:
            extra[keys["input"]] = data.pop("input")
        return _read_chat_pair(data | {"instruction": question, "output": answer}, extra)

    for field in ("instruction", "output"):  # `repair` names an empty turn
        if data.get(field, "") is None:
            data[field] = ""
    read = _validated(Alpaca, data, keys, row)
    assert read.model_extra is not None  # extra keys are allowed
    read.model_extra.update(extra)
    return read


def _column_text(key: str, value: Any) -> Any:
    """Numbers and booleans as JSON writes them. A number in `label` may be a class's, and digits of
    a long one are lost: `Alpaca` refuses these.
    """
    if key == "label" or not isinstance(value, int | float) or abs(value) >= 1e15:
        return value
    return _json_text(value)


def _read_chat_pair(data: dict, extra: dict) -> Row:
    """A pair in which the question or the answer is a list of turns. The answer may hold the
    question's turns again, as the `chosen` of preference data does.
    """
    question, answer = data.pop("instruction", None), data.pop("output", None)
    if not isinstance(question, list):
        question = [{"role": "user", "content": question}]
    if not isinstance(answer, list):
        answer = [{"role": "assistant", "content": answer}]
    if asks_again(question, answer):
        raise Rejection(
            "ambiguous", "its answer begins with another question than the one that it has"
        )
    messages = answer if begins_with(answer, question) else question + answer
    chat = data | extra | {"messages": messages}
    return _validated(ChatPair, chat, {}, chat)


def _validated(model: type[Row], data: dict, keys: Mapping[str, str], row: dict) -> Row:
    """`data` as a model. Rejection names the key, by its name in the row: {field: key}."""
    data = {key: value for key, value in data.items() if not _is_left_out(key, value)}
    for key in ("conversations", "messages"):
        if isinstance(data.get(key), list):
            data[key] = [_tidy(turn) for turn in _with_parts(data[key])]
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # Pydantic lists one error for each variant of a union. The deepest one says most.
        deepest = max(error.errors(include_url=False), key=lambda error: len(error["loc"]))
    if deepest["type"] == "missing" and len(deepest["loc"]) == 1:
        raise missing(str(deepest["loc"][0]), row, _detected(row))
    raise Rejection("schema", _explain(deepest, keys))


def _tidy(turn: Any) -> Any:
    """A raw turn with known keys in small letters; of keys that say the same, those that hold
    something, as in tables of several sources. Calls and results become JSON text.
    """
    if isinstance(turn, dict) and any(map(_is_json, turn.values())):
        turn = _with_json_text(turn)
    if isinstance(turn, dict) and any(map(_is_list_text, turn.values())) and asks_in_python(turn):
        raise Rejection("schema", f"the text of a turn is a list{AS_PYTHON}")
    if not isinstance(turn, dict) or turn.keys() in _USUAL_TURNS:
        return turn
    tidy = {key: value for key, value in turn.items() if value is not None}
    taken = {name for names in _ALIASES if any(map(tidy.get, names)) for name in names}
    known = TURN_KEYS - taken
    names = {key: known_name(key, known) for key in tidy}
    return renamed(tidy, names, _CONTENT)


def _with_parts(turns: list) -> list:
    """The turns; content parts as JSON text, as tables have them, become parts. In an answer they
    do if all texts of the row are so written: else it may be what was asked for. Calls and their
    results stay.
    """
    texts = (value for turn in turns if isinstance(turn, dict) for value in turn.values())
    if not any(map(_is_list_text, texts)):
        return turns
    keys = [
        _content_key(turn) if isinstance(turn, dict) and not _is_of_calls(turn) else None
        for turn in turns
    ]
    parts = [
        None if key is None else _parts_in(turn[key]) for turn, key in zip(turns, keys, strict=True)
    ]
    everywhere = all(found for key, found in zip(keys, parts, strict=True) if key is not None)
    return [
        turn | {key: found} if found and (everywhere or asks(turn)) else turn
        for turn, key, found in zip(turns, keys, parts, strict=True)
    ]


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
    return isinstance(role, str) and role.strip().lower() in CALL_ROLES


def _with_json_text(turn: dict) -> dict:
    """The turn; calls and results that are no text and no content parts become JSON text."""
    if not _is_of_calls(turn):
        return turn
    texts = {}
    for key, value in turn.items():
        is_content = known_name(key, TURN_KEYS) in ("value", "content")
        if is_content and isinstance(value, dict) and _is_media(value):
            value = [value]
        is_json = is_content and _is_json(value) and not _is_parts(value)
        texts[key] = _json_text(value) if is_json else value
    return texts


def _json_text(value: Any) -> str:
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


def _is_left_out(key: str, value: Any) -> bool:
    """Whether an optional key holds nothing, as in tables of several sources."""
    return key in OPTIONAL and (is_nothing(value) or (key == "system" and is_missing_input(value)))


def _detected(row: dict) -> str | None:
    try:
        return detect(row)
    except Rejection:
        return None


def turns(row: Row) -> list[Turn]:
    """The turns of a row in a format that has them as objects; of other formats, an empty list."""
    match row:
        case ShareGPT():
            return row.conversations
        case ChatML():
            return row.messages
    return []


def texts(row: Row) -> list[str]:
    """The texts of a row that the model is shown, without those of calls."""
    found = [row.system]
    for turn in turns(row):
        found += texts_of(turn)
    if isinstance(row, Alpaca):
        found += [row.instruction, row.input, row.output]
        for pair in row.history or []:
            found += pair
    if isinstance(row, ChatMLText):
        found.append(row.text)
    return [text for text in found if text]


def texts_of(turn: Turn) -> list[str]:
    content = turn.content
    found = [part.text for part in content] if isinstance(content, list) else [content]
    return [text for text in found if text]


def _explain(error: Any, keys: Mapping[str, str]) -> str:
    parts = [str(part) for part in error["loc"]]
    if parts:
        parts[0] = keys.get(parts[0], parts[0])
    key = ".".join(part for part in parts if not part.startswith(("list[", "str")))
    message = error["msg"][0].lower() + error["msg"][1:]
    if error["type"] == "missing" and len(parts) == 3:
        where = key.rpartition(".")[0]
        return f"{where}: a turn needs `role` and `content`; found {_short(error['input'])}"
    if error["type"] == "missing":
        return f"{key}: {message}; found {_short(error['input'])}"
    if error["type"] == "model_type" and error["ctx"]["class_name"] == "Turn":
        message = "input should be a turn, an object with `role` and `content`"
    return f"{key}: {message}; found {_short(error['input'])}{_hint(key, error)}"


def _hint(key: str, error: Any) -> str:
    value = error["input"]
    if key == "label":
        return "; write the class's name"
    if isinstance(value, str) and value.lstrip().startswith("[{'"):
        return f"; this is{AS_PYTHON}"
    if error["type"] == "string_type" and isinstance(value, list | dict) and "." not in key:
        return "; write it as text"
    return ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
