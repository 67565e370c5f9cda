"""The raw formats as pydantic models, and which of them a row is in.

A format is named as in `data.format` and in the metrics: sharegpt, alpaca, chatml. What a
conversation may hold is decided in `converter`.
"""

from typing import Annotated, Literal

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from gemma_finetune.data.rejection import Rejection
from gemma_finetune.data.split import canonical_split

Split = Annotated[Literal["train", "validation", "test"], BeforeValidator(canonical_split)]


class Schema(BaseModel):
    """Strict: a number is not text. Unknown keys go to `model_extra`, for `extra_keys` to judge."""

    model_config = ConfigDict(strict=True, extra="allow")


class Part(Schema):
    """One of OpenAI's content parts; only `text` has a place in a text model."""

    type: str
    text: str | None = None


class Turn(Schema):
    """One turn. ShareGPT files also have ChatML's keys, and the other way round."""

    role: Annotated[str, Field(validation_alias=AliasChoices("from", "role"))]
    content: Annotated[
        str | list[Part] | None, Field(validation_alias=AliasChoices("value", "content"))
    ] = None


class Row(Schema):
    """What a row of any format may hold next to its turns."""

    system: Annotated[
        str | None, Field(validation_alias=AliasChoices("system", "system_prompt"))
    ] = None
    split: Split | None = None


class ShareGPT(Row):
    """`{"conversations": [{"from": "human", "value": "…"}, …], "system": "…"?}`"""

    conversations: list[Turn]


class ChatML(Row):
    """`{"messages": [{"role": "user", "content": "…"}, …]}`, as OpenAI has it."""

    messages: list[Turn]


class ChatMLText(Row):
    """`{"text": "<|im_start|>user\\n…<|im_end|>\\n…"}`, or only the string."""

    text: str


class Alpaca(Row):
    """`{"instruction": "…", "input": "…"?, "output": "…", "history": [["…", "…"], …]?}`"""

    instruction: str
    input: str | None = None
    output: str
    history: list[Annotated[list[str], Field(min_length=2, max_length=2)]] | None = None


FORMATS: dict[str, type[Row]] = {"sharegpt": ShareGPT, "alpaca": Alpaca, "chatml": ChatML}

# The first of these keys that a row has decides its format. `instruction` comes before `text`,
# because the original Alpaca data has the whole prompt under `text`.
FORMAT_OF_KEY = {
    "conversations": "sharegpt",
    "messages": "chatml",
    "instruction": "alpaca",
    "text": "chatml",
}


def detect(row: dict) -> str:
    """The format of a row, by its keys. Rejection `unknown_format` names the keys it has."""
    for key, format in FORMAT_OF_KEY.items():
        # A table made of several sources has the columns of all of them, most of them null.
        if row.get(key) is not None:
            return format
    keys = ", ".join(map(repr, list(row)[:8])) or "none"
    raise Rejection(
        "unknown_format", f"has none of the keys {', '.join(FORMAT_OF_KEY)}; found {keys}"
    )


def read(row: dict, format: str) -> Row:
    """The row as a model of its format. Rejection `schema` says which key is wrong, and how."""
    model = FORMATS[format]
    if format == "chatml" and row.get("messages") is None:
        model = ChatMLText
    try:
        return model.model_validate(row)
    except ValidationError as error:
        raise Rejection("schema", _explain(error.errors(include_url=False)))


def turns(row: Row) -> list[Turn]:
    """The turns of a row in a format that has them as objects; of other formats, an empty list."""
    match row:
        case ShareGPT():
            return row.conversations
        case ChatML():
            return row.messages
    return []


def _explain(errors: list) -> str:
    # Pydantic lists one error for each variant of a union. The deepest one says most.
    error = max(errors, key=lambda error: len(error["loc"]))
    parts = [str(part) for part in error["loc"]]
    key = ".".join(part for part in parts if not part.startswith(("list[", "str")))
    message = error["msg"][0].lower() + error["msg"][1:]
    if error["type"] == "missing":
        return f"{key}: {message}"
    return f"{key}: {message}; found {_short(error['input'])}"


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
