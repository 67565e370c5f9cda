"""What every stage shares: the names of Gemma's tokens, and checked parameters from params.yaml.

Every stage imports this file, so a change here runs every stage again: keep it small. The
dataclass of a section lives next to the code that it configures (`data/config.py`, ...).

    lora = load_section("lora", LoRAConfig)
"""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails

from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.params import read_section

# Keras reads its backend when it is first imported. Every script imports this file before that.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# Pieces of Gemma's SentencePiece vocabulary. Their ids differ between vocabularies, so they are
# looked up by piece.
PAD, EOS, BOS, UNK = "<pad>", "<eos>", "<bos>", "<unk>"
START_OF_TURN, END_OF_TURN = "<start_of_turn>", "<end_of_turn>"

# The pieces of Gemma 3's vocabulary that are not text.
# They are listed here because the data is checked before any tokenizer exists. The format stage
# checks again, with the tokenizer, that each text has as many turn tokens as it has turns.
CONTROL_PIECES = (
    PAD, EOS, BOS, UNK, START_OF_TURN, END_OF_TURN,
    "<mask>", "[multimodal]", "<start_of_image>", "<end_of_image>", "<image_soft_token>",
)  # fmt: skip
_CONTROL = re.compile("|".join(map(re.escape, CONTROL_PIECES)) + r"|<unused\d+>")

# The pieces of function calls. Only FunctionGemma's vocabulary has them, so they are text for any
# other base: `format` decides, with the tokenizer.
START_CALL, END_CALL = "<start_function_call>", "<end_function_call>"
START_RESPONSE, END_RESPONSE = "<start_function_response>", "<end_function_response>"
START_DECLARATION, END_DECLARATION = (
    "<start_function_declaration>", "<end_function_declaration>",
)  # fmt: skip
ESCAPE = "<escape>"
FUNCTION_PIECES = (
    START_DECLARATION, END_DECLARATION, START_CALL, END_CALL, START_RESPONSE, END_RESPONSE, ESCAPE,
)  # fmt: skip
# What FunctionGemma's system text says where there are functions.
ACTIVATION = "You are a model that can do function calling with the following functions"
_FUNCTION_PIECE = re.compile("|".join(map(re.escape, FUNCTION_PIECES)))

AUTO = "auto"  # a parameter that the stage `settings` chooses
SETTINGS = "metrics/settings.json"  # what it chose

BUNDLE_KINDS = ("task", "litertlm")  # every quantization is bundled as both file types

Config = TypeVar("Config")

# `@section` on a class makes it a frozen dataclass that refuses unknown keys and wrong types.
section = dataclass(
    frozen=True,
    kw_only=True,
    config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False),
)


def _number(value: Any) -> Any:
    """The number in a string; anything else as it is.

    `-S train.learning_rate=0.00001` makes DVC write `1e-05`, which YAML 1.1 reads as a string.
    """
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Float = Annotated[float, BeforeValidator(_number)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what numpy takes
Quantizations = Annotated[tuple[str, ...], Field(min_length=1)]


def find_control(text: str) -> str | None:
    """The first control piece in `text`, or None."""
    found = _CONTROL.search(text)
    return found.group() if found else None


def find_function_piece(text: str) -> str | None:
    """The first piece of function calls in `text`, or None."""
    found = _FUNCTION_PIECE.search(text)
    return found.group() if found else None


def load_section(name: str, cls: type[Config], path: str = "params.yaml") -> Config:
    """Section `name` of a parameter file as a `cls`. UserError names the key that is wrong.

    Where the file says `auto`, the value is the one in metrics/settings.json beside it.
    """
    return check_section(name, resolved_section(name, path), cls, path)


def check_section(
    name: str, values: dict[str, Any], cls: type[Config], path: str = "params.yaml"
) -> Config:
    """The values of a section as a `cls`. UserError names the key that is wrong."""
    known_keys = getattr(cls, "__dataclass_fields__", {})
    return _checked(values, TypeAdapter(cls), path, name, known_keys)


def load_value(name: str, adapter: TypeAdapter, path: str = "params.yaml") -> Any:
    """One parameter, such as `train.sequence_length`, as the adapter's type."""
    section_name, _, key = name.partition(".")
    return _checked(read_section(section_name, path).get(key), adapter, path, name)


def load_quantizations(path: str = "params.yaml") -> tuple[str, ...]:
    """`export.quantizations`, for the stages that need nothing else of the section."""
    return load_value("export.quantizations", TypeAdapter(Quantizations), path)


def resolved_section(name: str, path: str = "params.yaml") -> dict[str, Any]:
    """Section `name`, unchecked, with what the stage `settings` chose in place of `auto`."""
    values = read_section(name, path)
    if AUTO not in values.values():
        return values
    try:
        chosen = json.loads(Path(path).with_name("metrics").joinpath("settings.json").read_text())
        chosen = dict(chosen.get(name, {}))
    except (OSError, ValueError, AttributeError, RecursionError):
        chosen = {}  # `auto` stays, and is refused where a number is needed
    return {key: chosen.get(key, AUTO) if value == AUTO else value for key, value in values.items()}


def _checked(
    values: Any, adapter: TypeAdapter, path: str, name: str, known_keys: Iterable[str] = ()
) -> Any:
    """`values` as the adapter's type. UserError names every key that is wrong."""
    try:
        # Through JSON, because from it pydantic's strict mode takes a list for a tuple, and a
        # mapping for a nested section.
        return adapter.validate_json(json.dumps(values, default=str))
    except ValidationError as error:
        problems = [_explain(path, name, problem, known_keys) for problem in error.errors()]
        raise UserError("\n".join(problems))


def _explain(path: str, name: str, error: ErrorDetails, known_keys: Iterable[str]) -> str:
    key = ".".join([name, *map(str, error["loc"])])
    if error["type"] == "unexpected_keyword_argument":
        return f"{path}: {key}: no such parameter; `{name}` has {', '.join(known_keys)}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{path}: {key}: missing; restore it from Git"
    if error["input"] == AUTO and not error["type"].startswith("literal"):
        return (
            f"{path}: {key}: {SETTINGS} does not say what auto is; run `dvc repro settings`, or "
            "give a value: most parameters may not be auto"
        )
    message = error["msg"].removeprefix("Value error, ")
    return f"{path}: {key}: {message[0].lower() + message[1:]}; found {error['input']!r}"
