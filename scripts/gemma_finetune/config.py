"""What every stage shares: Gemma's token names, and params.yaml read into checked, frozen dataclasses.

Every stage imports this file, so a change here runs every stage again: keep it small. The dataclass of a
section lives beside the code it steers (`data/config.py`, `training/config.py`, ...).

    lora = load_section("lora", LoRAConfig)
"""

import json
from typing import Annotated, TypeVar

import yaml
from pydantic import BeforeValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from gemma_finetune.utils.cli import UserError

# Pieces of Gemma's SentencePiece vocabulary. Their ids differ between vocabularies: look them up by piece.
PAD, EOS, BOS, UNK = "<pad>", "<eos>", "<bos>", "<unk>"
START_OF_TURN, END_OF_TURN = "<start_of_turn>", "<end_of_turn>"

Config = TypeVar("Config")

# `@section` on a class makes it a frozen dataclass that refuses unknown keys and wrong types.
section = dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))


def _number(value):
    """`-S train.learning_rate=0.00001` makes DVC write `1e-05`, which YAML 1.1 reads as a string."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value


Float = Annotated[float, BeforeValidator(_number)]


def load_section(name: str, cls: type[Config], path: str = "params.yaml") -> Config:
    """Section `name` of a parameter file as a `cls`. UserError names the key at fault and what was found."""
    params = read_params(path)
    if not isinstance(params.get(name), dict):
        raise UserError(f"{path}: section `{name}` is missing; restore it from Git")
    try:
        # Through JSON, where pydantic's strict mode takes a list for a tuple and a mapping for a nested section.
        return TypeAdapter(cls).validate_json(json.dumps(params[name], default=str))
    except ValidationError as error:
        raise UserError("\n".join(_explain(path, name, e, cls) for e in error.errors()))


def read_params(path: str = "params.yaml") -> dict:
    """The whole parameter file. UserError if it is no mapping in plain YAML."""
    try:
        with open(path, encoding="utf-8") as file:
            params = yaml.load(file, _PlainLoader)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); run from the repository's root")
    except (yaml.YAMLError, ValueError) as error:  # a date or number that is none, text that is no UTF-8
        raise UserError(f"{path}: not valid YAML: {error}")
    except RecursionError:
        raise UserError(f"{path}: nested too deeply for parameters; restore it from Git")
    if not isinstance(params, dict):
        raise UserError(f"{path}: no mapping of sections; restore it from Git")
    return params


class _PlainLoader(yaml.SafeLoader):
    """Safe YAML without aliases: a few lines of them unfold to more than any memory holds."""

    def compose_node(self, parent, index):
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.MarkedYAMLError("aliases are not used here", None, f"found *{event.anchor}", event.start_mark)
        return super().compose_node(parent, index)


def _explain(path, name, error, cls):
    key = ".".join([name, *map(str, error["loc"])])
    if error["type"] == "unexpected_keyword_argument":
        return f"{path}: {key}: no such parameter; `{name}` has {', '.join(cls.__dataclass_fields__)}"
    if error["type"] in ("missing", "missing_argument"):
        return f"{path}: {key}: missing; restore it from Git"
    message = error["msg"].removeprefix("Value error, ")
    return f"{path}: {key}: {message[0].lower() + message[1:]}; found {error['input']!r}"
