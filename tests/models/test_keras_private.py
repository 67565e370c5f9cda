"""Each private name of Keras and keras-hub that is used, and what it must do.

A failure here means that a new version of Keras or keras-hub moved or changed that name.
"""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import keras
import keras_hub
import numpy as np
import pytest
from keras_hub.src.utils.transformers.safetensor_utils import SafetensorLoader

from gemma_finetune.models import keras_private
from gemma_finetune.models.keras_private import (
    Muon,
    attend,
    replace_layer,
    weights_one_at_a_time,
    without_random_weights,
)
from gemma_finetune.models.loader import load_gemma_model

pytestmark = pytest.mark.slow

PACKAGE = Path(keras_private.__file__).parents[1]


def built_block():
    """A layer with a dense layer inside, which Keras has locked."""

    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(3)

        def call(self, x):
            return self.dense(x)

    block = Block()
    block(np.ones((1, 2), "float32"))
    return block


def test_layer_tracker_takes_another_layer_in_a_built_one_and_locks_again():
    block, other = built_block(), keras.layers.Dense(3, use_bias=False)
    other.build((1, 2))
    replace_layer(block, "dense", other)
    assert block.dense is other
    assert any(weight is other.kernel for weight in block.trainable_weights)
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        block.another = keras.layers.Dense(3)


def test_keras_still_has_no_public_way_to_replace_a_layer_of_a_built_one():
    with pytest.raises(ValueError, match="cannot add new elements of state"):
        built_block().dense = keras.layers.Dense(3)


@pytest.mark.parametrize("index", [0, 5])  # a sliding layer and a global one
def test_compute_attention_is_what_the_layer_computes_between_its_projections(base_dir, index):
    layer = load_gemma_model(base_dir).transformer_layers[index].attention
    x = np.random.default_rng(0).normal(size=(2, 40, 32)).astype("float32")
    mask = jnp.tril(jnp.ones((2, 40, 40), bool))
    q = layer.rope_layer(layer.query_norm(layer.query_dense(x)))
    k = layer.rope_layer(layer.key_norm(layer.key_dense(x)))
    v = layer.value_dense(x)
    ours = layer.output_dense(attend(layer, q, k, v, mask))
    np.testing.assert_allclose(ours, layer(x, attention_mask=mask), atol=1e-5)


def test_use_fused_attention_op_is_refused_on_a_gpu(base_dir, monkeypatch):
    """keras-hub asks the layer, which finds cuDNN's kernel there."""
    layer = load_gemma_model(base_dir).transformer_layers[0].attention
    x = jnp.ones((1, 4, layer.num_query_heads, layer.head_dim))
    kv = x[:, :, : layer.num_key_value_heads]
    mask = jnp.tril(jnp.ones((1, 4, 4), bool))
    monkeypatch.setattr(type(layer), "_use_fused_attention_op", lambda self: True)
    fused = []
    monkeypatch.setattr(keras.ops, "dot_product_attention", lambda *_, **options: fused.append(1))

    attend(layer, x, kv, kv, mask)
    assert fused
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = attend(layer, x, kv, kv, mask)
    assert len(fused) == 1
    np.testing.assert_allclose(found, x, rtol=1e-6)


def test_variance_scaling_is_what_draws_the_weights_of_a_gemma_3(base_dir):
    """In the block none is drawn, so that a file's weights are all that a model can have."""
    with without_random_weights():
        backbone = keras_hub.models.Gemma3Backbone.from_preset(str(base_dir), load_weights=False)
    assert [w.path for w in backbone.weights if not w.value.is_deleted() and np.any(w)] == []
    assert backbone.token_embedding.embeddings.value.is_deleted()  # its zeros take no memory
    assert all(np.any(weight) for weight in load_gemma_model(base_dir).weights)
    with pytest.raises(ValueError), without_random_weights():
        raise ValueError
    assert np.any(keras.layers.Embedding(3, 4, "glorot_uniform").embeddings_initializer((3, 4)))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_port_weight_frees_the_zeros_before_it_reads_the_weight(dtype):
    """As for a matrix that Hugging Face stores transposed."""
    variable = keras.Variable(np.zeros((2, 3)), dtype=dtype)
    zeros, weight = variable.value, np.arange(6, dtype="float32").reshape(3, 2) / 3

    class Loader(SafetensorLoader):
        def get_tensor(self, hf_weight_key):
            assert hf_weight_key == "w" and zeros.is_deleted()
            return weight

    with weights_one_at_a_time():
        loader = Loader.__new__(Loader)
        loader.port_weight(variable, "w", hook_fn=lambda array, shape: array.T.reshape(shape))
    assert variable.dtype == dtype
    np.testing.assert_array_equal(variable.value, weight.T.astype(variable.value.dtype))


def test_a_weight_of_another_shape_is_still_refused():
    variable = keras.Variable(np.zeros((2, 3)))

    class Loader(SafetensorLoader):
        def get_tensor(self, hf_weight_key):
            return np.zeros((3, 3), "float32")

    with weights_one_at_a_time(), pytest.raises(ValueError, match="shape"):
        Loader.__new__(Loader).port_weight(variable, "w")


def moved(optimizer, variable, gradient):
    before = np.array(variable)
    optimizer.apply([gradient], [variable])
    return np.array(variable) - before


def test_should_use_adamw_gives_attention_kernels_to_muon_head_by_head():
    """A (heads, in, out) kernel moves as each head's matrix would alone."""
    rng = np.random.default_rng(0)
    gradient = rng.normal(size=(2, 8, 4)).astype("float32")
    together = moved(Muon(0.1), keras.Variable(np.zeros((2, 8, 4), "float32")), gradient)
    for head in range(2):
        matrix = keras.Variable(np.zeros((8, 4), "float32"))
        alone = moved(keras.optimizers.Muon(0.1), matrix, gradient[head])
        scale = np.abs(alone).max() / np.abs(together[head]).max()  # by the shape's first two axes
        np.testing.assert_allclose(together[head] * scale, alone, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("name", "shape"), [("embeddings", (8, 4)), ("scale", (4,))])
def test_should_use_adamw_keeps_embedding_and_norms(name, shape):
    """AdamW's first step is the rate times the sign of the gradient."""
    gradient = np.random.default_rng(0).normal(size=shape).astype("float32")
    variable = keras.Variable(np.zeros(shape, "float32"), name=name)
    step = moved(Muon(0.1, adam_lr_ratio=0.5, adam_weight_decay=None), variable, gradient)
    np.testing.assert_allclose(step, -0.05 * np.sign(gradient), rtol=1e-3)


@pytest.mark.parametrize("room", ["models", "training", "base"])
def test_no_other_file_reaches_into_a_private_attribute(room):
    found = []
    for path in sorted((PACKAGE / room).glob("*.py")):
        if path.name != "keras_private.py":
            found += [f"{path.name}: {text}" for text in private_attributes(path)]
    assert found == []


def private_attributes(path):
    """`x._name` in a file, where x is not the object itself."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
            if not (own or node.attr.endswith("__")):
                yield ast.unparse(node)
