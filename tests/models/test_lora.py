import numpy as np
import pytest

from gemma_finetune.models.config import LoRAConfig
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.models.lora import adapter_weights, apply_lora, set_adapter_weights

ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
IDS = np.arange(5, 45)[None].astype("int32")


def call(backbone):
    return np.asarray(backbone({"token_ids": IDS, "padding_mask": np.ones_like(IDS)}))


def random_weights(adapters, seed=0):
    rng = np.random.default_rng(seed)
    return {
        name: rng.normal(0, 0.1, array.shape).astype("float32") for name, array in adapter_weights(adapters).items()
    }


def test_a_fresh_adapter_changes_nothing_and_only_it_is_trainable(base_dir):
    backbone = load_gemma_model(base_dir)
    before = call(backbone)
    adapters = apply_lora(backbone, LoRAConfig(rank=4, alpha=8, targets=ALL))
    np.testing.assert_array_equal(call(backbone), before)
    assert len(adapters) == 6 * 7
    assert {w.name for w in backbone.trainable_weights} == {"lora_A", "lora_B"}
    assert len(backbone.trainable_weights) == 2 * len(adapters)


def test_shapes_and_names_are_hugging_faces(base_dir):
    backbone = load_gemma_model(base_dir)
    weights = adapter_weights(apply_lora(backbone, LoRAConfig(rank=4, alpha=8, targets=("q_proj", "v_proj"))))
    assert len(weights) == 24
    assert weights["model.layers.0.self_attn.q_proj.lora_A"].shape == (4, 32)
    assert weights["model.layers.0.self_attn.q_proj.lora_B"].shape == (64, 4)
    assert weights["model.layers.5.self_attn.v_proj.lora_B"].shape == (16, 4)
    assert {array.dtype.name for array in weights.values()} == {"float32"}


@pytest.mark.parametrize("target", ALL)
def test_each_target_adds_scaled_B_A(base_dir, target):
    """The adapted output equals the output with W + (alpha / rank) B A in the kernel's place."""
    config = LoRAConfig(rank=4, alpha=8, targets=(target,))
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
            kernel.assign_add(delta.reshape(kernel.shape[0], kernel.shape[2], -1).transpose(0, 2, 1))
        else:
            kernel.assign_add(delta.T)
    np.testing.assert_allclose(call(adapted), call(folded), atol=2e-5)


def test_the_adapter_stays_float32_on_a_bfloat16_base(base_dir):
    backbone = load_gemma_model(base_dir, dtype="bfloat16")
    adapters = apply_lora(backbone, LoRAConfig(rank=4, alpha=8, targets=("q_proj",)))
    layer = next(iter(adapters.values()))
    assert (layer.lora_A.dtype, layer.base.kernel.dtype) == ("float32", "bfloat16")
    assert call(backbone).dtype.name == "bfloat16"
