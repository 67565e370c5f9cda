"""The raw formats as pydantic models, and which of them a row is in. What a conversation may hold
is `converter`'s.

A format's name is what `data.format` and the metrics call it: sharegpt, alpaca, chatml.
"""

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from gemma_finetune.data.rejection import Rejection

Split = Literal["train", "validation", "test"]


class Schema(BaseModel):
    """Strict: a number is no text. Keys it does not know are kept apart (`model_extra`) for
    `extra_keys` to judge.
    """

    model_config = ConfigDict(strict=True, extra="allow")


class Part(Schema):
    """One of OpenAI's content parts; only `text` has a place in a text model."""

    type: str
    text: str | None = None


class Turn(Schema):
    """One turn. The two spellings occur in each other's files."""

    role: Annotated[str, Field(validation_alias=AliasChoices("from", "role"))]
    content: Annotated[
        str | list[Part] | None, Field(validation_alias=AliasChoices("value", "content"))
    ] = None


class Row(Schema):
    """What a row of any format may say beside its turns."""

    system: Annotated[
        str | None, Field(validation_alias=AliasChoices("system", "system_prompt"))
    ] = None
    split: Split | None = None


class ShareGPT(Row):
    """`{"conversations": [{"from": "human", "value": "…"}, …], "system": "…"?}`"""

    conversations: list[Turn]


class ChatML(Row):
    """`{"messages": [{"role": "user", "content": "…"}, …]}`, OpenAI's."""

    messages: list[Turn]


class ChatMLText(Row):
    """`{"text": "<|im_start|>user\\n…<|im_end|>\\n…"}`; also a bare JSON string."""

    text: str


class Alpaca(Row):
    """`{"instruction": "…", "input": "…"?, "output": "…", "history": [["…", "…"], …]?}`"""

    instruction: str
    input: str | None = None
    output: str
    history: list[Annotated[list[str], Field(min_length=2, max_length=2)]] | None = None


FORMATS: dict[str, tuple] = {
    "sharegpt": (ShareGPT,),
    "alpaca": (Alpaca,),
    "chatml": (ChatML, ChatMLText),
}

FORMAT_OF_KEY = {
    "conversations": "sharegpt",
    "messages": "chatml",
    "instruction": "alpaca",  # before `text`: the original Alpaca has its whole prompt there too
    "text": "chatml",
}


def detect(row: dict) -> str:
    """The format of a row, told by its keys. Rejection `unknown_format` names the keys it has."""
    for key, format in FORMAT_OF_KEY.items():
        if (
            row.get(key) is not None
        ):  # tables of several sources have a column of each, most of them null
            return format
    keys = ", ".join(map(repr, list(row)[:8])) or "none"
    raise Rejection(
        "unknown_format", f"has none of the keys {', '.join(FORMAT_OF_KEY)}; found {keys}"
    )


def read(row: dict, format: str) -> Row:
    """The row as a model of its format. Rejection `schema` names the first key at fault and what
    was found.
    """
    model = FORMATS[format][-1 if format == "chatml" and row.get("messages") is None else 0]
    try:
        return model.model_validate(row)
    except ValidationError as error:
        raise Rejection("schema", _explain(error.errors(include_url=False)))


def turns(row: Row) -> list[Turn]:
    """The turns of a row in a format that has them as objects, else none."""
    match row:
        case ShareGPT():
            return row.conversations
        case ChatML():
            return row.messages
    return []


def _explain(errors):
    # The variants of a union are listed one by one; the one that got deepest says most.
    error = max(errors, key=lambda e: len(e["loc"]))
    key = ".".join(str(part) for part in error["loc"] if not str(part).startswith(("list[", "str")))
    found = "" if error["type"] == "missing" else f"; found {_short(error['input'])}"
    return f"{key}: {error['msg'][0].lower()}{error['msg'][1:]}{found}"


def _short(value):
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
