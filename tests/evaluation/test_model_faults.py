"""Faults planted in weights, configs and recipes: the verdict is `fail`, at the hop that broke.

One fault at a time, in an otherwise healthy chain, as in the other three test_..._faults.py.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gemma_finetune.config import load_section
from gemma_finetune.evaluation.measure import exact_by_logits, measure
from gemma_finetune.evaluation.tflite_rung import tflite_logits
from gemma_finetune.reporting.config import CheckConfig
from gemma_finetune.reporting.gate import FAIL, checks, failure, read_verdicts, verdicts

from .conftest import QUANTIZATIONS, ROOT, keras_logits, merged_logits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lora_logits(chain, test_set):
    from gemma_finetune.evaluation.keras_rung import base_with_adapter

    base = chain / "models/base"
    return keras_logits(base_with_adapter(base, chain / "models/lora.npz"), base, test_set)


@pytest.fixture
def broken_hop(metrics, test_set, tokenizer):
    """The first hop that fails when `rung` has these logits, and all others are healthy."""
    config = load_section("check", CheckConfig, str(ROOT / "params.yaml"))

    def judge(rung, logits, reference, **thresholds):
        outcome = measure(test_set, logits, reference)
        exact = exact_by_logits(test_set, outcome, tokenizer.stop_ids)
        figures = {"exact_match": np.mean(exact)}
        broken = metrics | {rung: metrics[rung] | outcome.figures | figures}

        found = checks(broken, replace(config, **thresholds), QUANTIZATIONS)
        content = verdicts(found, broken, QUANTIZATIONS)
        assert content["verdict"] == FAIL
        message = failure(read_verdicts(content, QUANTIZATIONS))
        return message.removeprefix("the export chain breaks at hop ").split(":")[0]

    return judge


def edit_tensors(merged: Path, change):
    """Rewrites models/merged/model.safetensors by `change(tensors)`."""
    tensors = load_file(merged / "model.safetensors")
    save_file(tensors | change(tensors), merged / "model.safetensors", metadata={"format": "pt"})


def edit_config(merged: Path, **changes):
    path = merged / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# -- merge: the merged model is not the base with its adapter on --


def lora_dropped(base, merged):
    return base


def alpha_ignored(base, merged):
    """The adapter added in with scale 1; alpha / rank is 2."""
    return {name: base[name] + (merged[name] - base[name]) / 2 for name in merged}


def kernel_transposed(base, merged):
    name = "model.layers.2.mlp.gate_proj.weight"
    return {name: np.ascontiguousarray(merged[name].T).reshape(merged[name].shape)}


@pytest.mark.parametrize("fault", [lora_dropped, alpha_ignored, kernel_transposed])
def test_a_wrong_merge_is_caught_at_merge(copy, test_set, lora_logits, broken_hop, fault):
    base = load_file(copy / "models/base/model.safetensors")
    edit_tensors(copy / "models/merged", lambda merged: fault(base, merged))
    reference = merged_logits(copy / "models/merged", test_set)
    assert broken_hop("lora", lora_logits, reference) == "merge"


def test_a_sliding_window_off_by_one_in_the_merged_config_is_caught_at_merge(
    copy, test_set, lora_logits, broken_hop
):
    edit_config(copy / "models/merged", sliding_window=17)
    reference = merged_logits(copy / "models/merged", test_set)
    assert broken_hop("lora", lora_logits, reference) == "merge"


# -- transformers: the config differs from what the weights were trained with --


def rope(theta):
    return {"rope_type": "linear", "factor": 1.0, "rope_theta": theta}


@pytest.mark.parametrize(
    "changes",
    [
        {"rope_parameters": {"sliding_attention": rope(1e6), "full_attention": rope(1e6)}},
        {"rope_parameters": {"sliding_attention": rope(1e4), "full_attention": rope(1e4)}},
        {"sliding_window": 15},
        {"query_pre_attn_scalar": 64},
        {"layer_types": ["full_attention"] * 6},
    ],
    ids=[
        "rope-of-local-layers",
        "rope-of-global-layers",
        "window-off-by-one",
        "query-scale",
        "no-local-layers",
    ],
)
def test_a_wrong_config_is_caught_at_transformers(copy, test_set, reference, broken_hop, changes):
    from gemma_finetune.evaluation.torch_rung import load_torch, torch_logits

    edit_config(copy / "models/merged", **changes)
    logits = torch_logits(load_torch(copy / "models/merged"), test_set.sequences)
    assert broken_hop("transformers", logits, reference) == "transformers"


# -- tflite: converted to something else than transformers computes --


def test_a_kernel_transposed_in_the_conversion_is_caught_at_tflite(
    copy, test_set, reference, broken_hop
):
    tensors = load_file(copy / "models/merged/model.safetensors")
    right = tensors["model.layers.2.mlp.gate_proj.weight"]
    wrong = np.ascontiguousarray(right.T)
    content = (copy / "models/tflite/float32.tflite").read_bytes()
    assert content.count(right.tobytes()) == 1
    (copy / "wrong.tflite").write_bytes(content.replace(right.tobytes(), wrong.tobytes()))
    logits = tflite_logits(copy / "wrong.tflite", test_set.sequences)
    assert broken_hop("tflite_float32", logits, reference) == "tflite"


# -- quantize --


def test_channelwise_int4_is_caught_at_quantize(
    chain, tmp_path, metrics, test_set, reference, broken_hop
):
    """The threshold is a third above `int4`'s KL: a model this small loses little either way."""
    from ai_edge_quantizer import recipe

    from gemma_finetune.export.quantizer import quantize

    channelwise, wrong = tmp_path / "channelwise.json", tmp_path / "wrong.tflite"
    channelwise.write_text(json.dumps(recipe.dynamic_wi4_afp32()))
    quantize(chain / "models/tflite/float32.tflite", wrong, channelwise)
    logits = tflite_logits(wrong, test_set.sequences)
    max_kl = {"int8": 0.02, "int4": 1.33 * metrics["tflite_int4"]["kl"]}
    assert broken_hop("tflite_int4", logits, reference, max_kl=max_kl) == "quantize@int4"
