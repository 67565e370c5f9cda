from dataclasses import replace

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from gemma_finetune.formats.fake_quantization import bits_of, fake_quantized_embedding
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.models.lora import (
    adapter_weights,
    apply_lora,
    rounded_kernel,
    set_adapter_weights,
    target_modules,
)
from lora_settings import lora_config

pytestmark = pytest.mark.slow

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CONFIG = lora_config()
IDS = np.arange(5, 45)[None].astype("int32")


def call(backbone):
    return np.asarray(backbone({"token_ids": IDS, "padding_mask": np.ones_like(IDS)}))


def random_weights(adapters, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, 0.1, array.shape).astype("float32")
        for name, array in adapter_weights(adapters).items()
    }


def test_a_fresh_adapter_changes_nothing_and_only_it_is_trainable(base_dir):
    backbone = load_gemma_model(base_dir)
    before = call(backbone)
    adapters = apply_lora(backbone, replace(CONFIG, targets=ALL))
    np.testing.assert_array_equal(call(backbone), before)
    assert len(adapters) == 6 * 7
    assert {w.name for w in backbone.trainable_weights} == {"lora_A", "lora_B"}
    assert len(backbone.trainable_weights) == 2 * len(adapters)


def test_shapes_and_names_are_hugging_faces(base_dir):
    backbone = load_gemma_model(base_dir)
    weights = adapter_weights(apply_lora(backbone, CONFIG))
    assert len(weights) == 24
    assert weights["model.layers.0.self_attn.q_proj.lora_A"].shape == (4, 32)
    assert weights["model.layers.0.self_attn.q_proj.lora_B"].shape == (64, 4)
    assert weights["model.layers.5.self_attn.v_proj.lora_B"].shape == (16, 4)
    assert {array.dtype.name for array in weights.values()} == {"float32"}


@pytest.mark.parametrize("target", ALL)
def test_each_target_adds_scaled_B_A(base_dir, target):
    """The adapted output equals the output with W + (alpha / rank) B A in the kernel's place."""
    config = replace(CONFIG, targets=(target,))
    adapted, folded = load_gemma_model(base_dir), load_gemma_model(base_dir)
    adapters = apply_lora(adapted, config)
    weights = random_weights(adapters)
    set_adapter_weights(adapters, weights)
    for path, layer in apply_lora(folded, config).items():
        delta = 2.0 * weights[f"{path}.lora_B"] @ weights[f"{path}.lora_A"]  # (out, in)
        kernel = layer.base.kernel
        if target == "o_proj":  # (heads, head_dim, D): in comes first
            kernel.assign_add(delta.T.reshape(kernel.shape))
        elif target in ("q_proj", "k_proj", "v_proj"):  # (heads, D, head_dim)
            kernel.assign_add(
                delta.reshape(kernel.shape[0], kernel.shape[2], -1).transpose(0, 2, 1)
            )
        else:
            kernel.assign_add(delta.T)
    np.testing.assert_allclose(call(adapted), call(folded), atol=2e-5)


def test_the_adapter_stays_float32_on_a_bfloat16_base(base_dir):
    backbone = load_gemma_model(base_dir, dtype="bfloat16")
    adapters = apply_lora(backbone, replace(CONFIG, targets=("q_proj",)))
    layer = next(iter(adapters.values()))
    assert (layer.lora_A.dtype, layer.base.kernel.dtype) == ("float32", "bfloat16")
    assert call(backbone).dtype.name == "bfloat16"


def test_rslora_scales_by_the_root_of_the_rank(base_dir):
    assert (CONFIG.scale, replace(CONFIG, use_rslora=True).scale) == (2, 4)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 5, 32)).astype("float32")
    lora_B = rng.normal(size=(64, 4)).astype("float32")
    updates = []
    for use_rslora in (False, True):
        config = replace(CONFIG, use_rslora=use_rslora)
        layer = next(iter(apply_lora(load_gemma_model(base_dir), config).values()))
        layer.lora_B.assign(lora_B)
        updates.append(np.asarray(layer(x) - layer.base(x)))
    plain, stabilized = updates
    np.testing.assert_allclose(stabilized, 2 * plain, atol=1e-5)


def dropped(base_dir, seed, calls=1, **how):
    """The share of the input that dropout keeps, at 500 positions; one array for each call.

    It is the update of an adapter for an input of ones, with A and B of ones.
    """
    adapters = apply_lora(load_gemma_model(base_dir), replace(CONFIG, dropout=0.25), seed=seed)
    layer = adapters["model.layers.0.self_attn.q_proj"]
    layer.lora_A.assign(np.ones(layer.lora_A.shape))
    layer.lora_B.assign(np.ones(layer.lora_B.shape))
    x = np.ones((1, 500, 32), "float32")
    kept = []
    for _ in range(calls):
        update = np.asarray(layer(x, **how) - layer.base(x))
        kept.append(update[0, :, 0, 0] / (2 * 4 * 32))
    return kept


def test_dropout_keeps_the_mean_and_is_drawn_from_the_seed_anew_each_step(base_dir):
    first, second = dropped(base_dir, seed=1, calls=2, training=True)
    assert abs(first.mean() - 1) < 0.02 and first.std() > 0.05
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(dropped(base_dir, seed=1, training=True)[0], first)
    assert not np.array_equal(dropped(base_dir, seed=2, training=True)[0], first)


def test_dropout_is_for_training_only(base_dir):
    np.testing.assert_allclose(dropped(base_dir, seed=1)[0], 1, rtol=1e-5)


AWARE = replace(CONFIG, quantization_aware=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_quantization_aware_adapter_is_rounded_with_its_base(base_dir, dtype):
    """With adapters on some or on all projections, the output is that of a fully rounded model."""
    outputs = []
    for config in (AWARE, replace(AWARE, targets=ALL)):
        backbone = load_gemma_model(base_dir, dtype=dtype)
        apply_lora(backbone, config)
        outputs.append(call(backbone).astype("float32"))
    rounded = load_gemma_model(base_dir, dtype=dtype)
    for path, parent, attribute in target_modules(rounded, ALL):
        dense = getattr(parent, attribute)
        dense.kernel.assign(rounded_kernel(dense, dense.kernel.value, bits_of(path)))
    embeddings = rounded.token_embedding.embeddings
    embeddings.assign(fake_quantized_embedding(np.asarray(embeddings, "float32")))
    wanted = call(rounded).astype("float32")
    plain = call(load_gemma_model(base_dir, dtype=dtype)).astype("float32")
    for output in outputs:
        np.testing.assert_allclose(output, wanted, atol=1e-5 if dtype == "float32" else 0.1)
    assert np.abs(wanted - plain).max() > 0.3


@pytest.mark.parametrize("target", ALL)
def test_its_gradient_takes_the_rounding_for_the_identity(base_dir, target):
    """By A and B, it is the plain adapter's; by x, that of a layer with the rounded kernel."""
    layers = {}
    for name, config in (("aware", AWARE), ("plain", CONFIG)):
        adapters = apply_lora(load_gemma_model(base_dir), replace(config, targets=(target,)))
        layers[name] = next(layer for path, layer in adapters.items() if "layers.0" in path)
        weights = random_weights({"": layers[name]})
        layers[name].lora_A.assign(weights[".lora_A"])
        layers[name].lora_B.assign(weights[".lora_B"])
    plain = layers["plain"]
    wide = plain.base.kernel.shape[:2] if target == "o_proj" else (plain.in_features,)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(1, 5, *wide)), "float32")

    def gradients(layer):
        def total(x, A, B):
            with keras.StatelessScope([(layer.lora_A, A), (layer.lora_B, B)]):
                y = layer(x)
            return (y * jnp.cos(jnp.arange(y.size)).reshape(y.shape)).sum()

        return jax.grad(total, (0, 1, 2))(x, layer.lora_A.value, layer.lora_B.value)

    aware, plain = gradients(layers["aware"]), gradients(layers["plain"])
    np.testing.assert_allclose(aware[1], plain[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(aware[2], plain[2], rtol=1e-4, atol=1e-5)
    assert 0 < np.abs(aware[0] - plain[0]).max() < 0.3 * np.abs(plain[0]).max()


def test_folded_it_is_what_was_trained(base_dir):
    backbone = load_gemma_model(base_dir)
    adapters = apply_lora(backbone, replace(AWARE, targets=ALL))
    weights = random_weights(adapters)
    for path, layer in adapters.items():
        layer.lora_A.assign(weights[f"{path}.lora_A"])
        layer.lora_B.assign(weights[f"{path}.lora_B"])
    trained = call(backbone)
    set_adapter_weights(adapters, weights)
    assert all(layer.folded for layer in adapters.values())
    np.testing.assert_allclose(call(backbone), trained, atol=0.02 * np.abs(trained).max())
    np.testing.assert_allclose(np.median(np.abs(call(backbone) - trained)), 0, atol=1e-5)
