import copy
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer.algorithms.uniform_quantize.hadamard_rotation import (
    _rotate_with_diagonal_hadamard,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma_finetune.export.quantizer import quantize
from gemma_finetune.formats.fake_quantization import (
    bits_of,
    fake_quantized,
    fake_quantized_embedding,
)
from gemma_finetune.formats.recipe import read_recipe
from gemma_finetune.formats.tflite_file import TFLiteFile
from imports import ROOT

pytestmark = pytest.mark.slow


def random_weight(seed, shape=(24, 96), spread=1.0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32") * np.float32(spread)


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([4, 8]), st.floats(1e-5, 1e3))
def test_what_is_rounded_stays_as_it_is_and_has_as_many_values_as_its_bits_allow(
    seed, bits, spread
):
    rounded = fake_quantized(random_weight(seed, spread=spread), bits)
    np.testing.assert_allclose(
        fake_quantized(rounded, bits), rounded, rtol=1e-6 if bits == 8 else 0
    )
    group = rounded.reshape(-1, 32 if bits == 4 else 96)
    assert all(len(np.unique(np.abs(row))) <= 2 ** (bits - 1) for row in group)


@settings(derandomize=True, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(-8, 8))
def test_rows_keep_their_own_grid(seed, exponent):
    """Scaling a whole row commutes with quantizing it: AWQ's producers lose nothing by it."""
    row, factor = random_weight(seed, (1, 64)), np.float32(2.0**exponent)
    np.testing.assert_array_equal(fake_quantized(row * factor, 4), fake_quantized(row, 4) * factor)


@pytest.mark.parametrize("bits", [4, 8])
def test_nothing_moves_by_more_than_half_a_step(bits):
    weight = random_weight(0)
    block = 32 if bits == 4 else 96
    step = np.abs(weight.reshape(24, -1, block)).max(-1, keepdims=True) / (2 ** (bits - 1) - 1)
    moved = np.abs(fake_quantized(weight, bits) - weight).reshape(24, -1, block)
    assert (moved <= 0.52 * step).all()  # a bfloat16 scale is off by 0.4 % at most
    assert moved.max() > 0.4 * step.min()


@pytest.mark.parametrize("bits", [4, 8])
def test_in_jax_and_in_a_kernels_layout_it_is_the_same(bits):
    weight = random_weight(1)
    # (heads, head_dim, out): two axes of inputs
    kernel = jnp.asarray(weight.reshape(24, 2, 48).transpose(1, 2, 0))
    rounded = jax.jit(lambda kernel: fake_quantized(kernel, bits, (0, 1)))(kernel)
    np.testing.assert_allclose(
        rounded.transpose(2, 0, 1).reshape(24, 96), fake_quantized(weight, bits), rtol=1e-6
    )


@pytest.mark.parametrize("largest", [0.0, 1e-12])
def test_a_block_of_nothing_stays_nothing(largest):
    np.testing.assert_array_equal(fake_quantized(np.full((1, 32), largest, "float32"), 4), 0)


def read(path):
    """{weight: its values, (out, in)} of a `.tflite`, from its integers and scales."""
    file, found = TFLiteFile(path), {}
    for weight in file.weights():
        _, tensor, _ = next(use for use in file._weight_uses() if use[2] == weight.scopes[0][1])
        data = buffer(file, tensor)
        if weight.dtype == "INT4":
            integers = np.stack([data & 15, data >> 4], -1).astype(np.int8)  # two a byte
            integers = np.where(integers > 7, integers - 16, integers)
            blocks = integers.reshape(weight.shape[0], -1, 32)
            scales = block_scales(file, tensor).reshape(weight.shape[0], -1, 1)
            values = blocks * scales
        elif weight.dtype == "INT8":
            integers = data.view(np.int8).reshape(weight.shape)
            values = integers * tensor.Quantization().ScaleAsNumpy()[:, None]
        else:
            values = data.view(np.float32)
        found[weight.name] = values.reshape(weight.shape)
    return found


def buffer(file, tensor):
    return file._model.Buffers(tensor.Buffer()).DataAsNumpy()


def block_scales(file, tensor):
    details, table = schema.BlockwiseQuantization(), tensor.Quantization().Details()
    details.Init(table.Bytes, table.Pos)
    for subgraph in map(file._model.Subgraphs, range(file._model.SubgraphsLength())):
        places = [subgraph.Tensors(i)._tab.Pos for i in range(subgraph.TensorsLength())]
        if tensor._tab.Pos in places:
            scales = buffer(file, subgraph.Tensors(details.Scales()))
            return scales.view(np.float16).astype(np.float32)


INT4 = ROOT / "scripts/recipes/int4.json"
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def test_it_is_what_ai_edge_quantizer_makes_of_a_model_by_the_recipe(float32, tmp_path):
    quantize(float32, tmp_path / "int4.tflite", INT4)
    before, after = read(float32), read(tmp_path / "int4.tflite")
    projections = {name for name in before if name.endswith("_proj")}
    assert len(projections) == 6 * 7
    for name in projections:
        np.testing.assert_allclose(
            after[name], fake_quantized(before[name], bits_of(name)), rtol=1e-6
        )
    (embedding,) = before.keys() - projections
    rotated = _rotate_with_diagonal_hadamard(fake_quantized_embedding(before[embedding]), axis=1)[0]
    np.testing.assert_allclose(after[embedding], rotated, atol=1e-6)


def edited(path, regex, bits, granularity):
    """INT4's recipe with one more entry, in `path`."""
    entry = copy.deepcopy(read_recipe(INT4)[0]) | {"regex": regex}
    entry["op_config"]["weight_tensor_config"] |= {"num_bits": bits, "granularity": granularity}
    path.write_text(json.dumps([*read_recipe(INT4), entry]))
    return path


@pytest.mark.parametrize(
    "edit, eight_bits",
    [
        (None, {"k_proj", "v_proj"}),
        (("Linear_down_proj", 8, "CHANNELWISE"), {"k_proj", "v_proj", "down_proj"}),
        # The converter joins the names of gate_proj and up_proj.
        (("Linear_gate_proj", 8, "CHANNELWISE"), {"k_proj", "v_proj", "gate_proj", "up_proj"}),
        (("Linear_[kv]_proj", 4, "BLOCKWISE_32"), set()),
    ],
)
def test_bits_are_those_that_the_quantizer_builds_by_the_recipe_also_after_an_edit(
    float32, tmp_path, edit, eight_bits
):
    recipe = edited(tmp_path / "int4.json", *edit) if edit else INT4
    weights = quantize(float32, tmp_path / "int4.tflite", recipe)
    dtypes = {w.name: w.dtype for w in weights if w.name.endswith("_proj")}
    bits = {name: bits_of(f"model.{name}", recipe) for name in dtypes}
    assert {name: f"INT{number}" for name, number in bits.items()} == dtypes
    assert {p for p in PROJECTIONS if bits[f"layers.0.{p}"] == 8} == eight_bits
