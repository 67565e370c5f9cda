import shutil
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gemma_finetune.export.merge import (
    fake_quantized_model,
    merge_lora_weights,
    read_tensors,
    target_shapes,
)
from gemma_finetune.export.merge_proof import prove_merge
from gemma_finetune.formats.lora_file import Adapter, base_digest
from gemma_finetune.utils.errors import UserError
from lora_settings import lora_config

pytestmark = pytest.mark.slow

CONFIG = lora_config()
PROMPTS = [list(range(4, 40)), list(range(60, 90))]


@pytest.fixture
def adapter(base_dir):
    rng = np.random.default_rng(0)
    weights = {}
    for path, (rows, columns) in target_shapes(base_dir, CONFIG.targets).items():
        weights[f"{path}.lora_A"] = rng.normal(0, 0.1, (4, columns)).astype("float32")
        weights[f"{path}.lora_B"] = rng.normal(0, 0.1, (rows, 4)).astype("float32")
    return Adapter(weights=weights, config=CONFIG, base_sha256=base_digest(base_dir))


@pytest.fixture
def merged_dir(base_dir, adapter, tmp_path):
    directory = shutil.copytree(base_dir, tmp_path / "merged")
    save_file(merge_lora_weights(read_tensors(base_dir), adapter), directory / "model.safetensors")
    return directory


def test_every_target_changes_and_nothing_else(base_dir, merged_dir, adapter):
    before = load_file(base_dir / "model.safetensors")
    after = load_file(merged_dir / "model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {f"{module}.weight" for module in adapter.modules}
    assert len(changed) == 6 * len(CONFIG.targets)


def test_the_update_is_alpha_over_rank_times_B_A(adapter):
    name = "model.layers.3.self_attn.v_proj"
    B = adapter.weights[f"{name}.lora_B"].astype("float64")
    A = adapter.weights[f"{name}.lora_A"].astype("float64")
    merged = merge_lora_weights({f"{name}.weight": np.zeros((16, 32), "float32")}, adapter)
    np.testing.assert_allclose(merged[f"{name}.weight"], 8 / 4 * B @ A, rtol=1e-6)


def test_the_merged_model_says_what_the_adapter_says(base_dir, merged_dir, adapter):
    proof = prove_merge(base_dir, merged_dir, adapter, PROMPTS)
    assert proof["merged_vs_lora"] < 1e-5 < 1e-2 < proof["merged_vs_base"]


def test_a_quantization_aware_merge_is_what_was_trained_and_int4_finds_nothing_to_round(
    base_dir, adapter, tmp_path
):
    aware = replace(adapter, config=replace(CONFIG, quantization_aware=True))
    merged = fake_quantized_model(merge_lora_weights(read_tensors(base_dir), aware))
    shutil.copytree(base_dir, tmp_path / "merged")
    save_file(merged, tmp_path / "merged/model.safetensors")
    assert prove_merge(base_dir, tmp_path / "merged", aware, PROMPTS)["merged_vs_lora"] == 0
    with pytest.raises(UserError, match="merged logits differ"):
        prove_merge(base_dir, tmp_path / "merged", adapter, PROMPTS)
    again = fake_quantized_model(merged)
    for name in merged:
        if "embed" not in name:
            np.testing.assert_allclose(again[name], merged[name], rtol=1e-6)


@pytest.mark.parametrize(
    "fault",
    [
        lambda a: {k: v for k, v in a.items() if "layers.2." not in k},  # a layer left out
        lambda a: {k: v / 2 if k.endswith("lora_B") else v for k, v in a.items()},  # alpha ignored
    ],
)
def test_a_wrong_merge_is_caught(base_dir, merged_dir, adapter, fault):
    wrong = Adapter(weights=fault(adapter.weights), config=CONFIG, base_sha256=adapter.base_sha256)
    save_file(merge_lora_weights(read_tensors(base_dir), wrong), merged_dir / "model.safetensors")
    with pytest.raises(UserError, match="merged logits differ"):
        prove_merge(base_dir, merged_dir, adapter, PROMPTS)


def test_an_adapter_that_learned_nothing_is_caught(base_dir, adapter):
    weights = dict(adapter.weights)
    for module in adapter.modules:
        weights[f"{module}.lora_B"] = np.zeros_like(weights[f"{module}.lora_B"])
    empty = Adapter(weights=weights, config=CONFIG, base_sha256="")
    with pytest.raises(UserError, match="has learned nothing"):
        prove_merge(base_dir, base_dir, empty, PROMPTS)
