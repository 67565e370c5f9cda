"""float32 `.tflite` -> a quantized one, by ai-edge-quantizer; then a look into what was built.

A recipe is ai-edge-quantizer's own JSON: a list of entries {regex, operation, algorithm_key,
op_config}, of which the last that matches an op counts. The quantizer leaves a weight in float
without a word where it does not support what the recipe asks, so every weight is read back from the
built file and compared with the recipe.
"""

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

from gemma_finetune.formats.recipe import FLOAT, asked, read_recipe
from gemma_finetune.formats.tflite_file import TFLiteFile, Weight
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import aside, require


def quantize(float_path: str | Path, out_path: str | Path, recipe_path: str | Path) -> list[Weight]:
    """Quantizes by a recipe; returns the weights of the built file. UserError if one is not what
    the recipe says.
    """
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


def _run_quantizer(float_path, out_path, recipe_path):
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(str(float_path))
    try:
        quantizer.load_quantization_recipe(str(recipe_path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{recipe_path}: ai-edge-quantizer refuses it: {error}")
    with redirect_stdout(io.StringIO()):
        model = quantizer.quantize().quantized_model
    # Not export_model, which maps the file: a full disk would kill the process without a word.
    out_path.write_bytes(model)


def expected(weight: Weight, recipe: Sequence[dict]) -> set[tuple[str, str]]:
    """The (dtype, granularity) that a recipe asks for a float weight; several if its uses are
    treated differently.
    """
    return {asked(operation, scope, recipe) for operation, scope in weight.scopes}


def check_weights(
    source: Sequence[Weight], built: Sequence[Weight], recipe: Sequence[dict], path: str | Path
) -> None:
    """UserError unless each weight of the float file got in the built file what the recipe asks."""
    found = {}
    for weight in built:
        found.setdefault(weight.name, set()).add((weight.dtype, weight.granularity))
    wrong = []
    for weight in source:
        wanted = expected(weight, recipe)
        if len(wanted) > 1:
            wrong.append(
                f"{weight.name}: asked {_spell(wanted)} in different signatures: it would be stored twice"
            )
        elif found.get(weight.name) != wanted:
            wrong.append(
                f"{weight.name}: asked {_spell(wanted)}, built {_spell(found.get(weight.name, ()))}"
            )
    if wrong:
        raise UserError(
            f"{path}: the built file is not what the recipe asks. (ai-edge-quantizer skips what it does not support, "
            "and a regex that fits one signature's names only splits a weight.)\n  "
            + "\n  ".join(wrong[:12])
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
    lines += [
        f"{k:<16} {len(b):>5} {sum(b) / 1e6:>8.2f}  {d} {g}".rstrip()
        for (k, d, g), b in rows.items()
    ]
    return "\n".join(lines)
