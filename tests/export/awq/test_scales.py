import json
import re
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from gemma_finetune.export.awq.activations import collect_inputs
from gemma_finetune.export.awq.scales import (
    calibration_rows,
    find_scales,
    fold,
    groups,
    scale,
    write_scaled,
)
from gemma_finetune.export.merge import fake_quantized_model
from gemma_finetune.formats.fake_quantization import bits_of, fake_quantized
from gemma_finetune.utils.errors import UserError

pytestmark = pytest.mark.slow

ROWS = [[2, *row] for row in np.random.default_rng(0).integers(4, 300, (8, 40)).tolist()]


@pytest.fixture(scope="module")
def config(talkative):
    """The shared model, cut down to two layers."""
    layers = {"num_hidden_layers": 2, "layer_types": ["sliding_attention", "full_attention"]}
    return json.loads((talkative / "config.json").read_text()) | layers


@pytest.fixture(scope="module")
def tensors(talkative):
    """The random model, with norms that cause a few large activations, as in trained models."""
    rng = np.random.default_rng(1)
    tensors = {}
    for name, value in load_file(talkative / "model.safetensors").items():
        if not re.search(r"layers\.[2-9]", name):
            tensors[name] = value
    for name, value in tensors.items():
        if name.endswith("layernorm.weight"):
            tensors[name] = rng.lognormal(0, 1.5, value.shape).astype("float32")
    return tensors


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory, config, tensors):
    return write(tmp_path_factory.mktemp("awq"), config, tensors)


def write(directory, config, tensors):
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def logits(directory):
    import torch
    from transformers import Gemma3ForCausalLM

    model = Gemma3ForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.tensor(ROWS)).logits.numpy()


def projections_quantized(tensors):
    """The tensors, with the projections that INT4 stores in 4 bits rounded to them."""
    quantized = dict(tensors)
    for name, value in tensors.items():
        if "_proj" in name and bits_of(name.removesuffix(".weight")) == 4:
            quantized[name] = fake_quantized(value, 4)
    return quantized


def test_any_scales_leave_the_logits_as_they_were(tensors, config, model_dir, tmp_path):
    rng, folded = np.random.default_rng(2), dict(tensors)
    for group in groups(config):
        channels = tensors[f"{group.producer}.weight"].shape[0]
        folded |= fold(folded, group, rng.uniform(0.2, 5, channels).astype("float32"))
    for name in tensors:
        if "_proj" in name or "input_layernorm" in name:
            assert not np.array_equal(folded[name], tensors[name])
    expected = logits(model_dir)
    difference = np.abs(logits(write(tmp_path, config, folded)) - expected).max()
    assert difference < 1e-4 * np.abs(expected).max()


def test_scaling_brings_the_quantized_model_nearer(tensors, config, model_dir, tmp_path):
    inputs = collect_inputs(model_dir, ROWS)
    scaled = scale(tensors, config, inputs)
    assert_equal(scaled, scaled_in_turn(tensors, config, inputs))
    expected = logits(model_dir)
    errors = []
    for name, weights in (("plain", tensors), ("scaled", scaled)):
        (tmp_path / name).mkdir()
        found = logits(write(tmp_path / name, config, projections_quantized(weights)))
        errors.append(np.square(found - expected).mean())
    assert errors[1] < 0.9 * errors[0]


def scaled_in_turn(tensors, config, inputs):
    """What the threads have to find, one group after another."""
    scaled = dict(tensors)
    for group in groups(config):
        scales = find_scales(scaled, group, inputs[group.consumers[0]])
        if (scales != 1).any():
            scaled |= fold(scaled, group, scales)
    return scaled


def assert_equal(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_a_scaled_copy_is_the_same_model(model_dir, tmp_path):
    write_scaled(model_dir, tmp_path / "scaled", ROWS)
    name = "model.layers.0.mlp.up_proj.weight"
    before = load_file(model_dir / "model.safetensors")[name]
    after = load_file(tmp_path / "scaled/model.safetensors")[name]
    assert not np.array_equal(before, after)
    np.testing.assert_allclose(logits(tmp_path / "scaled"), logits(model_dir), rtol=0, atol=2e-4)


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_missing_file_of_the_model_is_named(model_dir, tmp_path, file):
    merged = shutil.copytree(model_dir, tmp_path / "merged")
    (merged / file).unlink()
    with pytest.raises(UserError, match=f"{file} is missing: make it with `dvc repro merge`"):
        write_scaled(merged, tmp_path / "scaled", ROWS)


@pytest.mark.parametrize("left", [0, 1000])
def test_damaged_weights_are_named(model_dir, tmp_path, left):
    merged = shutil.copytree(model_dir, tmp_path / "merged")
    weights = merged / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:left])
    with pytest.raises(UserError, match="model.safetensors: damaged or cut short"):
        write_scaled(merged, tmp_path / "scaled", ROWS)


def test_an_error_of_the_copy_is_not_blamed_on_the_weights(model_dir, tmp_path):
    (
        tmp_path / "scaled"
    ).mkdir()  # stands for a full disk: copytree raises an OSError in both cases
    with pytest.raises(FileExistsError):
        write_scaled(model_dir, tmp_path / "scaled", [[2, 5]])


def test_calibration_rows_are_the_same_draw_of_so_many_tokens(tokenizer):
    texts = [f"<start_of_turn>user\nset {n}<end_of_turn>\n" for n in range(50)]
    rows = calibration_rows(texts, tokenizer, 100)
    assert sum(map(len, rows)) == 100 and all(row[0] == tokenizer.bos for row in rows)
    assert rows == calibration_rows(texts, tokenizer, 100)
    assert len(calibration_rows(texts[:2], tokenizer, 100)) == 2


def test_without_large_activations_nothing_is_worth_scaling(config, tensors):
    group = groups(config)[0]
    flat = np.sign(np.random.default_rng(3).normal(size=(64, 64))).astype("float32")
    np.testing.assert_array_equal(find_scales(tensors, group, flat), np.ones(64, "float32"))


def test_scales_do_not_follow_the_last_bits_of_the_inputs(config, tensors, model_dir):
    """CPUs differ by about 1e-13 of a value in float64; here it is 1e-12."""
    rng = np.random.default_rng(4)
    inputs = collect_inputs(model_dir, ROWS)
    for group in groups(config):
        x = inputs[group.consumers[0]]
        expected = find_scales(tensors, group, x)
        assert (expected != 1).any()
        found = find_scales(tensors, group, x * rng.uniform(1 - 1e-12, 1 + 1e-12, x.shape))
        np.testing.assert_array_equal(found, expected)


def test_weights_that_are_rounded_already_are_left_alone(config, tensors, model_dir):
    rounded = fake_quantized_model(tensors)
    scaled = scale(rounded, config, collect_inputs(model_dir, ROWS))
    for name, weight in rounded.items():
        np.testing.assert_array_equal(scaled[name], weight, err_msg=name)
