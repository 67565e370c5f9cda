"""Chooses the parameters that are `auto` in params.yaml, by the base and the data.

data/formatted/lengths.json, models/base/config.json -> metrics/settings.json

    python scripts/settings.py

The later stages depend on single values of the file, so what runs again is decided by what `auto`
became. A number in params.yaml is taken as it is.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gemma_finetune.auto import KEYS, Base, Lengths, choose, read_base, shortest_cache
from gemma_finetune.config import AUTO, SETTINGS, check_section
from gemma_finetune.evaluation.config import EvaluateConfig
from gemma_finetune.export.config import ExportConfig, check_lengths
from gemma_finetune.models.config import ModelConfig
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import made_by, read_json, require, write_json
from gemma_finetune.utils.params import read_section

LENGTHS = Path("data/formatted/lengths.json")
BASE = Path("models/base/config.json")
# No dep: nothing is written that depends on which recipes are there.
RECIPES = Path(__file__).with_name("recipes")
SECTIONS = {
    "model": ModelConfig,
    "train": TrainingConfig,
    "export": ExportConfig,
    "evaluate": EvaluateConfig,
}
# Valid values in place of `auto`, so that the others can be checked before a rule reads them.
PLACEHOLDERS = {
    "dtype": "float32",
    "learning_rate": 1.0,
    "sequence_length": 16,
    "batch_size": 1,
    "gradient_accumulation_steps": 1,
    "cache_length": 2,
    "prefill_lengths": [1],
    "calibration_tokens": 0,
    "max_positions": 1,
    "max_answers": 1,
    "max_tokens": 1,
}


def main() -> None:
    params = {name: read_explicit(name, cls) for name, cls in SECTIONS.items()}
    check_quantizations(params["export"]["quantizations"])
    base = read_base_config()
    with made_by("format", require(LENGTHS, "format")):
        lengths = Lengths(**read_json(LENGTHS))
    check_answers(lengths)
    chosen = choose(params, base, lengths)
    export = chosen["export"]
    check_lengths(export["prefill_lengths"], export["cache_length"], base.max_positions)
    check_cache(export["cache_length"], shortest_cache(base, chosen["train"]["sequence_length"]))

    write_json(SETTINGS, chosen)
    for section, values in chosen.items():
        for key, value in values.items():
            how = " (auto)" if params[section][key] == AUTO else ""
            print(f"{section}.{key}: {json.dumps(value)}{how}")


def check_answers(lengths: Lengths) -> None:
    """UserError if the evaluation, which comes after training, would have nothing to score."""
    if lengths.longest_answer == 0:
        raise UserError(
            "the test split has no answer to score: it is empty, or each answer has `train: false`;"
            " raise data.test_fraction or mark rows with `split: test`"
        )


def check_quantizations(names: Sequence[str]) -> None:
    """UserError for a name without a recipe, which would end the run only after training."""
    known = sorted(path.stem for path in RECIPES.glob("*.json"))
    for name in names:
        if name not in known:
            raise UserError(
                f"export.quantizations: there is no recipe scripts/recipes/{name}.json; there are "
                + ", ".join(known)
            )
        if names.count(name) > 1:
            raise UserError(f"export.quantizations names {name} twice; leave one out")


def check_cache(cache_length: int, shortest: int) -> None:
    """UserError if the evaluation could not use the exported model."""
    if cache_length < shortest:
        raise UserError(
            f"export.cache_length: {cache_length} is too short: a row of train.sequence_length or "
            f"a text past the sliding window takes {shortest} tokens"
        )


def read_explicit(name: str, cls: type) -> dict[str, Any]:
    """A section of params.yaml with its numbers checked, and `auto` where it says so."""
    found = read_section(name)
    is_auto = {key for key in KEYS[name] if found.get(key) == AUTO}
    filled = found | {key: PLACEHOLDERS[key] for key in is_auto}
    values = asdict(check_section(name, filled, cls))
    return values | {key: AUTO for key in is_auto}


def read_base_config() -> Base:
    """The sizes of the base."""
    config = read_json(require(BASE, "base"))
    with made_by("base", BASE):
        return read_base(config)


if __name__ == "__main__":
    run(main)
