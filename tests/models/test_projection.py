import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.models.lora import target_modules
from gemma_finetune.models.projection import project

pytestmark = pytest.mark.slow

TARGETS = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj")


@pytest.fixture(scope="module", params=TARGETS)
def dense(request, base_dir):
    backbone = load_gemma_model(base_dir, dtype="bfloat16")
    (_, parent, attribute), *_ = target_modules(backbone, [request.param])
    return getattr(parent, attribute)


def inputs(dense):
    """(2, 5, ...) as the layer takes them."""
    axes, kernel = dense.equation.split("->")[0].split(",")
    shape = 2, 5, *(dense.kernel.shape[kernel.index(axis)] for axis in axes[2:])
    return jnp.array(np.random.default_rng(0).normal(size=shape), "bfloat16")


def test_product_and_gradient_are_those_of_the_layer_rounded_once(dense):
    """Against float32: what is left is one rounding to bfloat16, 2^-9 relative."""
    x = inputs(dense)
    kernel = jnp.asarray(dense.kernel.value, "float32")
    weights = jnp.array(np.random.default_rng(1).normal(size=dense(x).shape), "bfloat16")

    def exact(x):
        return jnp.einsum(dense.equation, x, kernel)

    wanted, pull = jax.vjp(exact, x.astype("float32"))
    ours, our_pull = jax.vjp(lambda x: project(dense, x), x)
    assert ours.dtype == jnp.bfloat16
    np.testing.assert_allclose(ours.astype("float32"), wanted, rtol=2**-8, atol=1e-6)
    gradient, wanted_gradient = our_pull(weights)[0], pull(weights.astype("float32"))[0]
    np.testing.assert_allclose(gradient.astype("float32"), wanted_gradient, rtol=2**-8, atol=1e-6)


def test_in_float32_it_is_the_layer(base_dir):
    (_, parent, attribute), *_ = target_modules(load_gemma_model(base_dir), ["q_proj"])
    layer, x = getattr(parent, attribute), jnp.ones((1, 3, 32))
    np.testing.assert_array_equal(project(layer, x), layer(x))
