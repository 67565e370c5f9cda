"""Chat's own projections against Keras's."""

import itertools
import platform

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from conftest import random_backbone
from gemma_finetune.inference import projections as chat_projections
from gemma_finetune.inference.keras_inference import KerasModel
from gemma_finetune.inference.projections import Projection, product
from gemma_finetune.models.loader import logits

pytestmark = pytest.mark.slow

ROUNDING = {"float32": 1e-6, "bfloat16": 2**-8}  # relative, of one result


@pytest.fixture(params=ROUNDING)
def backbone(request):
    """One layer, in each dtype."""
    return random_backbone(200, num_layers=1, use_query_key_norm=True, dtype=request.param)


def uncached(backbone, ids):
    return backbone({"token_ids": ids, "padding_mask": jnp.ones_like(ids)})


def projections(backbone):
    block = backbone.transformer_layers[0]
    attention = block.attention
    yield from (attention.query_dense, attention.key_dense, attention.value_dense)
    yield from (attention.output_dense, block.gating_ffw, block.gating_ffw_2, block.ffw_linear)


@pytest.mark.parametrize("amx", [False, True])
def test_a_projection_is_the_layers_product_rounded_once(backbone, amx, monkeypatch):
    monkeypatch.setattr(chat_projections, "has_amx", lambda: amx)
    for dense, length in itertools.product(projections(backbone), (1, 5)):
        axes, kernel_axes = dense.equation.split("->")[0].split(",")
        shape = [dense.kernel.shape[kernel_axes.index(axis)] for axis in axes[2:]]
        x = np.random.default_rng(0).normal(size=(1, length, *shape))
        x = jnp.asarray(x, backbone.compute_dtype)
        kernel = np.asarray(dense.kernel.value, "float32")
        wanted = np.einsum(dense.equation, x.astype("float32"), kernel)
        ours = Projection(dense)(x)
        assert ours.dtype == backbone.compute_dtype
        rounding = ROUNDING[backbone.compute_dtype]
        np.testing.assert_allclose(ours.astype("float32"), wanted, rtol=rounding, atol=1e-5)


def test_chat_reads_as_the_backbone_does_and_holds_its_weights_once(backbone):
    ids = np.random.default_rng(0).integers(4, 200, (1, 12)).astype("int32")
    wanted = jax.jit(lambda ids: logits(backbone, uncached(backbone, ids)))(ids)[0, -3:]
    weights = backbone.count_params() * jnp.dtype(backbone.compute_dtype).itemsize

    model = KerasModel(backbone, 64)
    model.prefill(ids[0, :-3])
    ours = [model.decode(token) for token in ids[0, -3:]]
    rounding = ROUNDING[backbone.compute_dtype]
    np.testing.assert_allclose(ours, wanted, atol=4 * rounding * np.abs(wanted).max())
    assert sum(weight.nbytes for weight in model._weights) == weights


@pytest.mark.skipif(platform.machine() != "x86_64", reason="XLA has other kernels for other CPUs")
@pytest.mark.parametrize("amx", [False, True])
def test_a_bfloat16_matrix_is_neither_widened_nor_transposed(amx, monkeypatch):
    monkeypatch.setattr(chat_projections, "has_amx", lambda: amx)
    matrix, row = jnp.zeros((2048, 640), "bfloat16"), jnp.zeros((1, 640), "bfloat16")
    program = jax.jit(lambda *inputs: product(*inputs)).lower(matrix, row).compile().as_text()
    assert "bf16[2048,640]" in program
    assert "f32[2048,640]" not in program
    assert "[640,2048]" not in program
