"""params.yaml, unchecked, and whether it is still what a stage began with.

DVC writes into dvc.lock what the file says when a stage ends. If somebody edits it meanwhile, the
lock, the run cache and all who pull would take the output for one of the new values.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import yaml

from gemma_finetune.utils.errors import UserError

# {(file, section or section.key): what it said at first} of what this stage has read
_read: dict[tuple[str, str], Any] = {}


def read_params(path: str = "params.yaml") -> dict[str, Any]:
    """The whole parameter file. UserError if it is not a YAML mapping."""
    try:
        with open(path, encoding="utf-8") as file:
            params = yaml.safe_load(file)
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); run from the repository's root"
        )
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date, invalid UTF-8
        raise UserError(f"{path}: not valid YAML: {error}")
    if not isinstance(params, dict):
        raise UserError(f"{path}: not a mapping of sections; restore it from Git")
    return params


def read_section(name: str, path: str = "params.yaml") -> dict[str, Any]:
    """Section `name` as it stands in the file. UserError if it is not there."""
    values = _section(name, path)
    _read.setdefault((path, name), values)
    return values


def read_value(name: str, path: str = "params.yaml") -> Any:
    """One parameter, such as `train.sequence_length`; None if it is not there."""
    section, _, key = name.partition(".")
    value = _section(section, path).get(key)
    _read.setdefault((path, name), value)
    return value


@contextmanager
def unchanged_params() -> Iterator[None]:
    """UserError at the end if a parameter that was read in the block is another by then."""
    _read.clear()
    yield
    check_unchanged()


def check_unchanged() -> None:
    """UserError if a parameter that this stage has read says something else by now."""
    for (path, name), before in _read.items():
        section, _, key = name.partition(".")
        now = _section(section, path)
        changes = _changes(name, before, now.get(key) if key else now)
        if changes:
            raise UserError(
                f"{path} was changed while this stage ran: {', '.join(changes)}. DVC would record "
                "the new value for what was made with the old one, so this run is not kept: put "
                "the old value back, or leave the new one, and run again"
            )


def _section(name: str, path: str) -> dict[str, Any]:
    values = read_params(path).get(name)
    if not isinstance(values, dict):
        raise UserError(f"{path}: section `{name}` is missing; restore it from Git")
    return values


def _changes(name: str, before: Any, now: Any) -> list[str]:
    """`lora.rank: 5, now 6` for each parameter that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        keys = sorted({*before, *now}, key=str)
        pairs = ((f"{name}.{key}", before.get(key), now.get(key)) for key in keys)
        return [change for pair in pairs for change in _changes(*pair)]
    return [] if before == now else [f"{name}: {before!r}, now {now!r}"]
