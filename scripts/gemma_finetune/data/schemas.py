"""The raw formats as pydantic models, and the reading of a row as one of them.

A format is named as in `data.format` and in the metrics: sharegpt, alpaca, chatml, columns. What a
conversation may hold is decided in `turns`.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gemma_finetune.data.blank import is_missing_input, is_nothing
from gemma_finetune.data.exchanges import is_text_list
from gemma_finetune.data.raw_turns import TEXT_PARTS, json_text, tidy_turns
from gemma_finetune.data.rejection import Rejection, short
from gemma_finetune.data.row_guess import AS_TURNS, TEXT_LIST, missing, unknown_format
from gemma_finetune.data.row_keys import CONVERSATIONS, NO_COLUMNS, Columns, detect, pair_keys
from gemma_finetune.data.split import split_in_value
from gemma_finetune.data.turn_list import (
    AS_PYTHON,
    as_turns,
    asks_again,
    begins_with,
    is_python_turns,
    is_turn_list,
)

Split = Annotated[Literal["train", "validation", "test"], BeforeValidator(split_in_value)]
EXCEL_ERRORS = ("#N/A", "#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#NULL!", "#NUM!", "#SPILL!")
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
        _refuse_excel_error(key, data[field])
    question, answer = as_turns(data.get("instruction"), data.get("output"), keys)
    if is_python_turns(question):
        is_list = is_python_turns(answer) or is_turn_list(answer)
        if is_list or keys["instruction"] == "prompt":
            raise Rejection("schema", f"{keys['instruction']} is a list{AS_PYTHON}")
    if is_turn_list(question) or is_turn_list(answer):
        for field, value in (("instruction", question), ("output", answer)):
            if isinstance(value, dict):
                raise Rejection("schema", f"{keys[field]}: is an object, not a text; {AS_TURNS}")
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


def _refuse_excel_error(key: str, value: Any) -> None:
    if value in EXCEL_ERRORS:
        raise Rejection("schema", f"{key}: holds {value!r}, an error of Excel, not a text")


def _column_text(key: str, value: Any) -> Any:
    """Numbers and booleans as JSON writes them. A number in `label` may be a class's, and digits of
    a long one are lost: `Alpaca` refuses these.
    """
    if key == "label" or not isinstance(value, int | float) or abs(value) >= 1e15:
        return value
    return json_text(value)


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
    if isinstance(data.get("system"), list):
        data["system"] = _join_system(data["system"])
    _refuse_excel_error("system", data.get("system"))
    for key in ("conversations", "messages"):
        if is_text_list(data.get(key)):
            raise Rejection("schema", f"{key}: is {TEXT_LIST}")
        if isinstance(data.get(key), list):
            data[key] = tidy_turns(data[key])
    try:
        return model.model_validate(data)
    except ValidationError as error:
        # Pydantic lists one error for each variant of a union. The deepest one says most.
        deepest = max(error.errors(include_url=False), key=lambda error: len(error["loc"]))
    if deepest["type"] == "missing" and len(deepest["loc"]) == 1:
        raise missing(str(deepest["loc"][0]), row, _detected(row))
    raise Rejection("schema", _explain(deepest, keys))


def _join_system(parts: list) -> Any:
    """A system text in parts, as Anthropic's interface and Bedrock's have it, as one text."""
    texts = [part.get("text") if _is_text_part(part) else part for part in parts]
    return "\n\n".join(texts) if all(isinstance(text, str) for text in texts) else parts


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type", "text") in TEXT_PARTS


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
        needed = _keys_of_turn(where, error["input"])
        return f"{where}: a turn needs {needed}; found {short(error['input'])}"
    if error["type"] == "missing":
        return f"{key}: {message}; found {short(error['input'])}"
    if error["type"] == "model_type" and error["ctx"]["class_name"] == "Turn":
        needed = _keys_of_turn(key, error["input"])
        message = f"input should be a turn, an object with {needed}"
    return f"{key}: {message}; found {short(error['input'])}{_hint(key, error)}"


def _keys_of_turn(where: str, turn: Any) -> str:
    """The keys that a turn needs, as ShareGPT or as ChatML names them."""
    found = turn if isinstance(turn, dict) else {}
    is_sharegpt = "value" in found or (where.startswith("conversations") and "content" not in found)
    return "`from` and `value`" if is_sharegpt else "`role` and `content`"


def _hint(key: str, error: Any) -> str:
    value = error["input"]
    if key == "split":
        return "; write one of these, or give the key another name if it says something else"
    if key == "label":
        return "; write the class's name"
    if isinstance(value, str) and value.lstrip().startswith("[{'"):
        return f"; this is{AS_PYTHON}"
    if error["type"] == "list_type" and key in CONVERSATIONS and isinstance(value, str):
        return f"; {AS_TURNS}"
    if error["type"] == "string_type" and isinstance(value, list | dict) and "." not in key:
        return "; write it as text"
    return ""
