"""float32 `.tflite` -> a quantized one, by ai-edge-quantizer; then a look into what was built.

A recipe is ai-edge-quantizer's own JSON: a list of entries {regex, operation, algorithm_key, op_config}, of which the
last that matches an op counts. The quantizer leaves a weight in float without a word where it does not support what
the recipe asks, so every weight is read back from the built file and compared with the recipe.
"""

import io
import json
import re
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from gemma_finetune.export.tflite_file import TFLiteFile, Weight
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import aside, require

ALL_OPERATIONS, NO_QUANTIZE = "*", "no_quantize"
FLOAT = "FLOAT32"


def quantize(float_path: str | Path, out_path: str | Path, recipe_path: str | Path) -> list[Weight]:
    """Quantizes by a recipe; returns the weights of the built file. UserError if one is not what the recipe says."""
    recipe = read_recipe(recipe_path)
    source = TFLiteFile(require(float_path, "tflite"))
    if quantized := [weight for weight in source.weights() if weight.dtype != FLOAT]:
        found = f"{quantized[0].name} is {quantized[0].dtype}"
        raise UserError(f"{float_path}: quantized already ({found}); run `dvc repro tflite`")
    with aside(out_path) as temporary:
        _run_quantizer(float_path, temporary, recipe_path)
        weights = TFLiteFile(temporary).weights()
        check_weights(source.weights(), weights, recipe, recipe_path)
    return weights


def read_recipe(path: str | Path) -> list[dict]:
    """A recipe file's entries. UserError names the entry at fault."""
    try:
        recipe = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError:
        raise UserError(f"{path}: no such recipe; export.quantizations names files of scripts/recipes/ without .json")
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON: {error}")
    if not isinstance(recipe, list) or not recipe:
        raise UserError(f"{path}: a recipe is a list of entries; see scripts/recipes/int8.json")
    for number, entry in enumerate(recipe, 1):
        missing = {"regex", "operation", "algorithm_key"} - set(entry if isinstance(entry, dict) else ())
        if missing:
            raise UserError(f"{path}: entry {number} lacks {', '.join(sorted(missing))}; see scripts/recipes/int8.json")
        try:
            re.compile(entry["regex"])
        except (TypeError, re.error) as error:
            raise UserError(f"{path}: entry {number}: {entry['regex']!r} is no regular expression ({error})")
    return recipe


def _run_quantizer(float_path, out_path, recipe_path):
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(str(float_path))
    try:
        quantizer.load_quantization_recipe(str(recipe_path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{recipe_path}: ai-edge-quantizer refuses it: {error}")
    with redirect_stdout(io.StringIO()):
        model = quantizer.quantize().quantized_model
    out_path.write_bytes(model)  # export_model maps the file: a full disk would kill the process, without a word


def expected(weight: Weight, recipe: Sequence[dict]) -> set[tuple[str, str]]:
    """The (dtype, granularity) that a recipe asks for a float weight; several if its uses are treated differently."""
    return {_expected(operation, scope, recipe) for operation, scope in weight.scopes}


def _expected(operation, scope, recipe):
    """What the last matching entry asks. Entries with the same regex stand together, where the first of them stands."""
    regexes = list(dict.fromkeys(entry["regex"] for entry in recipe))
    found = (FLOAT, "")
    for entry in sorted(recipe, key=lambda e: regexes.index(e["regex"])):
        if entry["operation"] in (ALL_OPERATIONS, operation) and re.search(entry["regex"], scope):
            found = (FLOAT, "") if entry["algorithm_key"] == NO_QUANTIZE else _asked(entry["op_config"])
    return found


def _asked(op_config):
    weight = op_config["weight_tensor_config"]
    dtype = weight.get("dtype", "INT")
    return f"{dtype}{weight['num_bits']}", weight["granularity"] if dtype == "INT" else ""


def check_weights(source: Sequence[Weight], built: Sequence[Weight], recipe: Sequence[dict], path: str | Path) -> None:
    """UserError unless each weight of the float file got in the built file what the recipe asks."""
    found = {}
    for weight in built:
        found.setdefault(weight.name, set()).add((weight.dtype, weight.granularity))
    wrong = []
    for weight in source:
        asked = expected(weight, recipe)
        if len(asked) > 1:
            wrong.append(f"{weight.name}: asked {_spell(asked)} in different signatures: it would be stored twice")
        elif found.get(weight.name) != asked:
            wrong.append(f"{weight.name}: asked {_spell(asked)}, built {_spell(found.get(weight.name, ()))}")
    if wrong:
        raise UserError(
            f"{path}: the built file is not what the recipe asks. (ai-edge-quantizer skips what it does not support, "
            "and a regex that fits one signature's names only splits a weight.)\n  " + "\n  ".join(wrong[:12])
        )


def _spell(kinds):
    return " and ".join(sorted(" ".join(kind).strip() for kind in kinds)) or "nothing"


def table(weights: Sequence[Weight]) -> str:
    """What each kind of weight got: one line per kind (layers together), dtype and granularity."""
    rows: dict[tuple, list[int]] = {}
    for weight in weights:
        kind = weight.name.rpartition(".")[2] if weight.name.startswith("layers.") else weight.name
        kind = "hadamard_matrix" if "hadamard" in kind else kind
        rows.setdefault((kind, weight.dtype, weight.granularity), []).append(weight.bytes)
    lines = [f"{'weight':<16} {'count':>5} {'MB':>8}  dtype"]
    lines += [f"{k:<16} {len(b):>5} {sum(b) / 1e6:>8.2f}  {d} {g}".rstrip() for (k, d, g), b in rows.items()]
    return "\n".join(lines)
