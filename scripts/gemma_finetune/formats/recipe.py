"""Quantization recipes: ai-edge-quantizer's own JSON, and the type a recipe asks for a weight.

A recipe is a list of entries {regex, operation, algorithm_key, op_config}. The last entry counts
that matches an operation and its scope (the name of the operation's output).
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from gemma_finetune.utils.errors import UserError

ALL_OPERATIONS, NO_QUANTIZE = "*", "no_quantize"
FLOAT = "FLOAT32"
FIELDS = {"regex", "operation", "algorithm_key"}


def read_recipe(path: str | Path) -> list[dict]:
    """The entries of a recipe file. UserError names the wrong entry."""
    try:
        recipe = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(
            f"{path}: no such recipe; export.quantizations names files of scripts/recipes/ "
            "without .json"
        )
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}")
    if not isinstance(recipe, list) or not recipe:
        raise UserError(f"{path}: a recipe is a list of entries; see scripts/recipes/int8.json")
    for number, entry in enumerate(recipe, 1):
        _check_entry(entry, f"{path}: entry {number}")
    return recipe


def _check_entry(entry: object, place: str) -> None:
    fields = entry if isinstance(entry, dict) else {}
    missing = FIELDS - fields.keys()
    if missing:
        names = ", ".join(sorted(missing))
        raise UserError(f"{place} lacks {names}; see scripts/recipes/int8.json")
    try:
        re.compile(fields["regex"])
    except (TypeError, re.error) as error:
        raise UserError(f"{place}: {fields['regex']!r} is not a regular expression ({error})")


def weight_type(operation: str, scope: str, recipe: Sequence[dict]) -> tuple[str, str]:
    """The (dtype, granularity) that a recipe asks for the weight of an operation.

    ("INT4", "BLOCKWISE_32"), for example; ("FLOAT32", "") if no entry matches.
    """
    # ai-edge-quantizer groups the entries by regex, in the order in which the regexes first appear.
    regexes = list(dict.fromkeys(entry["regex"] for entry in recipe))
    grouped = sorted(recipe, key=lambda entry: regexes.index(entry["regex"]))

    found = (FLOAT, "")
    for entry in grouped:
        if fits(entry, operation, scope):
            found = _type_of_entry(entry)
    return found


def fits(entry: dict, operation: str, scope: str) -> bool:
    """Whether an entry is about an operation of that scope."""
    return entry["operation"] in (ALL_OPERATIONS, operation) and bool(
        re.search(entry["regex"], scope)
    )


def _type_of_entry(entry: dict) -> tuple[str, str]:
    if entry["algorithm_key"] == NO_QUANTIZE:
        return FLOAT, ""
    weight = entry["op_config"]["weight_tensor_config"]
    dtype = weight.get("dtype", "INT")
    granularity = weight.get("granularity", "TENSORWISE") if dtype == "INT" else ""
    return f"{dtype}{weight['num_bits']}", granularity
