import json
from collections import Counter

import pytest

from gemma_finetune.export.quantizer import quantize, table
from gemma_finetune.formats.recipe import read_recipe
from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.utils.errors import UserError
from imports import SCRIPTS

pytestmark = pytest.mark.slow

RECIPES = SCRIPTS / "recipes"
INT8, BLOCK = ("INT8", "CHANNELWISE"), ("INT4", "BLOCKWISE_32")


def kinds(path):
    return {
        weight.name: (weight.dtype, weight.granularity) for weight in TFLiteFile(path).weights()
    }


def write(path, entries):
    path.write_text(json.dumps(entries))
    return path


def entry(
    regex, bits, granularity, operation="FULLY_CONNECTED", algorithm="min_max_uniform_quantize"
):
    weight = {"num_bits": bits, "symmetric": True, "granularity": granularity, "dtype": "INT"}
    return {
        "regex": regex,
        "operation": operation,
        "algorithm_key": algorithm,
        "op_config": {
            "weight_tensor_config": weight,
            "compute_precision": "INTEGER",
            "explicit_dequantize": False,
        },
    }


def test_int8_is_channelwise_everywhere(quantized):
    assert set(kinds(quantized["int8"]).values()) == {INT8}


def test_int4_is_block_32_but_for_k_and_v_proj(quantized):
    for name, kind in kinds(quantized["int4"]).items():
        if "hadamard" not in name:
            assert kind == (INT8 if name.endswith(("k_proj", "v_proj")) else BLOCK), name


def test_int4_embedding_keeps_the_layers_at_int8(quantized):
    found = kinds(quantized["int4_embedding"])
    assert found.pop("embedding") == BLOCK
    layers = Counter(kind for name, kind in found.items() if name.startswith("layers."))
    assert layers == {INT8: 6 * 7}


def test_sizes_fall(quantized, float32):
    sizes = [path.stat().st_size for path in (float32, quantized["int8"], quantized["int4"])]
    assert sizes == sorted(sizes, reverse=True)


def test_the_same_bytes_when_made_again(quantized, float32, tmp_path):
    quantize(float32, tmp_path / "int4.tflite", RECIPES / "int4.json")
    assert (tmp_path / "int4.tflite").read_bytes() == quantized["int4"].read_bytes()
    assert (tmp_path / "int4.tflite").stat().st_mode & 0o111 == 0


def test_catches_a_weight_left_in_float_without_a_word(float32, tmp_path):
    """With `*`, ai-edge-quantizer skips what it does not support, such as 8 bits in blocks."""
    recipe = write(tmp_path / "silent.json", [entry(".*", 8, "BLOCKWISE_32", operation="*")])
    with pytest.raises(UserError, match="layers.0.q_proj: asked INT8 BLOCKWISE_32, built FLOAT32"):
        quantize(float32, tmp_path / "out.tflite", recipe)
    assert not (tmp_path / "out.tflite").exists()


def test_catches_a_regex_that_fits_one_signature_only(float32, tmp_path):
    entries = [
        *read_recipe(RECIPES / "int8.json"),
        entry("Generate.*Linear_o_proj", 4, "BLOCKWISE_32"),
    ]
    with pytest.raises(UserError, match="layers.0.o_proj: .* it would be stored twice"):
        quantize(float32, tmp_path / "out.tflite", write(tmp_path / "split.json", entries))


def test_a_recipe_may_leave_a_weight_in_float(float32, tmp_path):
    entries = [
        *read_recipe(RECIPES / "int8.json"),
        entry("Linear_v_proj", 8, "CHANNELWISE", algorithm="no_quantize"),
    ]
    weights = quantize(float32, tmp_path / "out.tflite", write(tmp_path / "own.json", entries))
    left = {weight.name for weight in weights if weight.dtype == "FLOAT32"}
    assert left == {f"layers.{i}.v_proj" for i in range(6)}


def precision(value):
    entries = [entry(".*", 8, "CHANNELWISE")]
    entries[0]["op_config"]["compute_precision"] = value
    return entries


def without(*path):
    """An entry for every layer that lacks one key."""
    entries = [entry(".*", 8, "CHANNELWISE")]
    holder = entries[0]
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    return entries


def static():
    """As ai-edge-quantizer's recipes with static ranges of activations."""
    entries = [entry(".*", 8, "CHANNELWISE", "*")]
    activations = {"num_bits": 8, "symmetric": False, "granularity": "TENSORWISE", "dtype": "INT"}
    entries[0]["op_config"]["activation_tensor_config"] = activations
    return entries


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry(".*", 8, "BLOCKWISE_32")], "ai-edge-quantizer refuses it"),
        (precision("INT"), "ai-edge-quantizer refuses it: Unsupported compute precision"),
        (without("op_config"), "ai-edge-quantizer refuses it: .*op_config"),
        (without("op_config", "weight_tensor_config", "num_bits"), "ai-edge-quantizer refuses it"),
        (without("op_config", "weight_tensor_config", "granularity"), "INT8 TENSORWISE"),
        (static(), "activations that are calibrated; .*activation_tensor_config"),
        ([entry(".*", 8, "CHANNELWISE", "FULLY_CONECTED")], "entry 1 fits no weight"),
        (
            [entry(".*", 8, "CHANNELWISE", "*"), entry("layers.3.v_proj", 4, "BLOCKWISE_32")],
            "entry 2 fits no weight: FULLY_CONNECTED named 'layers.3.v_proj'; .*Linear_v_proj",
        ),
    ],
)
def test_what_the_quantizer_refuses_is_told_as_the_recipe_s_fault(
    entries, message, float32, tmp_path
):
    recipe = write(tmp_path / "own.json", entries)
    with pytest.raises(UserError, match=f"(?s)own.json: .*{message}"):
        quantize(float32, tmp_path / "out.tflite", recipe)
    assert not (tmp_path / "out.tflite").exists()


def test_a_recipe_may_ask_for_a_float_model(float32, tmp_path):
    recipe = write(tmp_path / "own.json", [entry(".*", 8, "CHANNELWISE", "*", "no_quantize")])
    weights = quantize(float32, tmp_path / "out.tflite", recipe)
    assert {weight.dtype for weight in weights} == {"FLOAT32"}


def test_table_puts_layers_together(quantized):
    lines = table(TFLiteFile(quantized["int4"]).weights()).splitlines()
    assert len(lines) == 1 + 9  # heading; embedding, what rotates it, and seven projections
    assert any(line.split() == ["v_proj", "6", "0.01", "INT8", "CHANNELWISE"] for line in lines)


def test_a_model_that_is_quantized_already_is_refused(quantized, tmp_path):
    """Whatever its name. ai-edge-quantizer would fail, or build something else."""
    says = r"quantized already \(embedding is INT.\); run `dvc repro tflite`"
    for name in ("int8", "int4"):
        with pytest.raises(UserError, match=says):
            quantize(quantized[name], tmp_path / "out.tflite", RECIPES / "int8.json")
    assert list(tmp_path.iterdir()) == []
