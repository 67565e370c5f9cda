"""float32 `.tflite` -> a quantized one, by ai-edge-quantizer; then checks what was built.

ai-edge-quantizer silently leaves a weight in float if it does not support what the recipe
(formats/recipe.py) asks. So every weight is read back from the built file and compared with the
recipe.
"""

import io
from collections.abc import Iterable, Sequence
from contextlib import redirect_stdout
from pathlib import Path

from gemma_finetune.formats.recipe import FLOAT, fits, read_recipe, weight_type
from gemma_finetune.formats.tflite_file import TFLiteFile, Weight
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside, require


def quantize(float_path: str | Path, out_path: str | Path, recipe_path: str | Path) -> list[Weight]:
    """Quantizes a model by a recipe. Returns the weights of the built file.

    UserError if the recipe or the model is wrong, or if a built weight is not what the recipe asks.
    """
    recipe = read_recipe(recipe_path)
    source = TFLiteFile(require(float_path, "tflite")).weights()
    quantized = next((weight for weight in source if weight.dtype != FLOAT), None)
    if quantized:
        raise UserError(
            f"{float_path}: quantized already ({quantized.name} is {quantized.dtype}); "
            "run `dvc repro tflite`"
        )
    refuse_unused(recipe, source, recipe_path)
    with aside(out_path) as temporary:
        _run_quantizer(float_path, temporary, recipe_path)
        weights = TFLiteFile(temporary).weights()
        check_weights(source, weights, recipe, recipe_path)
    return weights


def _run_quantizer(float_path: str | Path, out_path: Path, recipe_path: str | Path) -> None:
    from ai_edge_quantizer.quantizer import Quantizer

    quantizer = Quantizer(str(float_path))
    try:
        quantizer.load_quantization_recipe(str(recipe_path))
        if quantizer.need_calibration:
            raise UserError(
                f"{recipe_path}: asks for activations that are calibrated; only weights are "
                "quantized here: leave out activation_tensor_config, and GPTQ"
            )
        with redirect_stdout(io.StringIO()):
            model = quantizer.quantize().quantized_model
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{recipe_path}: ai-edge-quantizer refuses it: {error}")
    # Not its export_model, which maps the file: a full disk would crash the process.
    out_path.write_bytes(model)


def refuse_unused(recipe: Sequence[dict], source: Sequence[Weight], path: str | Path) -> None:
    """UserError for an entry that fits no weight: what it asks would never be done."""
    scopes = {scope for weight in source for scope in weight.scopes}
    for number, entry in enumerate(recipe, 1):
        if not any(fits(entry, *scope) for scope in scopes):
            raise UserError(
                f"{path}: entry {number} fits no weight: {entry['operation']} named "
                f"{entry['regex']!r}; names hold `Gemma3DecoderLayer_0/` and `Linear_v_proj`"
            )


def expected(weight: Weight, recipe: Sequence[dict]) -> set[tuple[str, str]]:
    """The (dtype, granularity) that a recipe asks for a float weight.

    More than one if the recipe treats the weight's uses differently.
    """
    return {weight_type(operation, scope, recipe) for operation, scope in weight.scopes}


def check_weights(
    source: Sequence[Weight], built: Sequence[Weight], recipe: Sequence[dict], path: str | Path
) -> None:
    """UserError unless each weight of the float file got in the built file what the recipe asks."""
    found: dict[str, set[tuple[str, str]]] = {}
    for weight in built:
        found.setdefault(weight.name, set()).add((weight.dtype, weight.granularity))

    wrong = []
    for weight in source:
        asked, got = expected(weight, recipe), found.get(weight.name, set())
        if len(asked) > 1:
            wrong.append(
                f"{weight.name}: asked {_spell(asked)} in different signatures: "
                "it would be stored twice"
            )
        elif got != asked:
            wrong.append(f"{weight.name}: asked {_spell(asked)}, built {_spell(got)}")
    if wrong:
        raise UserError(
            f"{path}: the built file is not what the recipe asks. (ai-edge-quantizer skips what it "
            "does not support, and a regex that fits one signature's names only splits a weight.)"
            "\n  " + "\n  ".join(wrong[:12])
        )


def _spell(types: Iterable[tuple[str, str]]) -> str:
    """For a message: `INT4 BLOCKWISE_32 and INT8 CHANNELWISE`."""
    return " and ".join(sorted(" ".join(pair).strip() for pair in types)) or "nothing"


def table(weights: Sequence[Weight]) -> str:
    """What each kind of weight got: a line for each kind (all layers together) and type."""
    sizes: dict[tuple[str, str, str], list[int]] = {}  # in bytes
    for weight in weights:
        key = (_kind(weight.name), weight.dtype, weight.granularity)
        sizes.setdefault(key, []).append(weight.bytes)

    lines = [f"{'weight':<16} {'count':>5} {'MB':>8}  dtype"]
    for (kind, dtype, granularity), numbers in sizes.items():
        megabytes = sum(numbers) / 1e6
        line = f"{kind:<16} {len(numbers):>5} {megabytes:>8.2f}  {dtype} {granularity}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _kind(name: str) -> str:
    """`layers.3.v_proj` -> `v_proj`."""
    if "hadamard" in name:
        return "hadamard_matrix"
    return name.rpartition(".")[2] if name.startswith("layers.") else name
