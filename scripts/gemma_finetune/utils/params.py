"""params.yaml, unchecked; and whether a stage's parameters are still what it began with.

DVC writes into dvc.lock what the files say when a stage ends. If somebody edits them meanwhile, the
lock, the run cache and all who pull would believe that the new values made the output.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from gemma_finetune.utils.errors import UserError

PIPELINE = Path("dvc.yaml")  # says which parameters DVC records for a stage
_before: dict[tuple[str, str], Any] = {}  # {(file, key): value} of them, when the stage began


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
    values = read_params(path).get(name)
    if not isinstance(values, dict):
        raise UserError(f"{path}: section `{name}` is missing; restore it from Git")
    return values


@contextmanager
def unchanged_params(script: str) -> Iterator[None]:
    """UserError at the end if a parameter that DVC records for the stage has changed by then.

    The stage is the one that runs `script`, a file's name; nothing is watched if there is none.
    """
    _before.clear()
    _before.update(_recorded(script))
    yield
    check_unchanged()


def check_unchanged() -> None:
    """UserError if a parameter that DVC records for this stage is not what it began with."""
    try:
        now = {(path, key): _value(path, key) for path, key in _before}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"whether parameters changed while this stage ran cannot be told: {error}")
    changed = [place for place, value in _before.items() if now[place] != value]
    if changed:
        path = changed[0][0]
        shown = ", ".join(
            f"{key}: {_before[path, key]!r}, now {now[path, key]!r}" for path, key in changed
        )
        raise UserError(
            f"{path} was changed while this stage ran ({shown}). DVC would record the new value "
            "for what was made with the old one, so this run is not kept: put the old value back, "
            "or leave the new one, and run again"
        )


def _recorded(script: str) -> dict[tuple[str, str], Any]:
    """{(file, key): value} of the parameters that dvc.yaml names for the stage."""
    if not PIPELINE.exists():
        return {}
    found = {}
    for stage in yaml.safe_load(PIPELINE.read_text(encoding="utf-8"))["stages"].values():
        if f"/{script}" in str(stage["cmd"]):
            for item in stage.get("params", []):
                named = item if isinstance(item, dict) else {"params.yaml": [item]}
                for path, keys in named.items():
                    found |= {(path, key): _value(path, key) for key in keys}
    return found


def _value(path: str, name: str) -> Any:
    """The parameter `train.seed` or section `lora` of a YAML or JSON file; None if not there."""
    if not Path(path).exists():
        return None
    value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    for key in name.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
