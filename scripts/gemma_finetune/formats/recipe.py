"""A quantization recipe: ai-edge-quantizer's own JSON, and what it asks for each weight.

A recipe is a list of entries {regex, operation, algorithm_key, op_config}. The last entry that matches
an operation and its scope (the name of its output) counts.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

from gemma_finetune.utils.cli import UserError

ALL_OPERATIONS, NO_QUANTIZE = "*", "no_quantize"
FLOAT = "FLOAT32"
FIELDS = {"regex", "operation", "algorithm_key"}


def read_recipe(path: str | Path) -> list[dict]:
    """A recipe file's entries. UserError names the wrong entry."""
    try:
        recipe = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(
            f"{path}: no such recipe; export.quantizations names files of scripts/recipes/ without .json"
        )
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}")
    if not isinstance(recipe, list) or not recipe:
        raise UserError(f"{path}: a recipe is a list of entries; see scripts/recipes/int8.json")
    for number, entry in enumerate(recipe, 1):
        missing = FIELDS - set(entry if isinstance(entry, dict) else ())
        if missing:
            names = ", ".join(sorted(missing))
            raise UserError(f"{path}: entry {number} lacks {names}; see scripts/recipes/int8.json")
        try:
            re.compile(entry["regex"])
        except (TypeError, re.error) as error:
            raise UserError(
                f"{path}: entry {number}: {entry['regex']!r} is not a regular expression ({error})"
            )
    return recipe


def asked(operation: str, scope: str, recipe: Sequence[dict]) -> tuple[str, str]:
    """The (dtype, granularity) that a recipe asks for the weight of an operation; (FLOAT32, "") for none."""
    # ai-edge-quantizer keeps the entries of one regex together, where the first of them stands.
    regexes = list(dict.fromkeys(entry["regex"] for entry in recipe))
    found = (FLOAT, "")
    for entry in sorted(recipe, key=lambda entry: regexes.index(entry["regex"])):
        if entry["operation"] in (ALL_OPERATIONS, operation) and re.search(entry["regex"], scope):
            found = _of_entry(entry)
    return found


def _of_entry(entry: dict) -> tuple[str, str]:
    if entry["algorithm_key"] == NO_QUANTIZE:
        return FLOAT, ""
    weight = entry["op_config"]["weight_tensor_config"]
    dtype = weight.get("dtype", "INT")
    return f"{dtype}{weight['num_bits']}", weight["granularity"] if dtype == "INT" else ""
