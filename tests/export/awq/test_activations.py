import json
from functools import partial

import numpy as np
import pytest

from gemma_finetune.export.awq.activations import collect_inputs
from gemma_finetune.export.awq.scales import groups

pytestmark = pytest.mark.slow

ROWS = [[2, *row] for row in np.random.default_rng(0).integers(4, 300, (8, 40)).tolist()]


@pytest.fixture(scope="module")
def inputs(talkative):
    return collect_inputs(talkative, ROWS)


def test_inputs_are_what_each_group_reads(inputs, talkative):
    config = json.loads((talkative / "config.json").read_text())
    assert list(inputs) == [group.consumers[0] for group in groups(config)]
    assert inputs["model.layers.1.self_attn.o_proj"].shape == (8 * 41, 64)
    assert inputs["model.layers.0.mlp.down_proj"].shape == (8 * 41, 96)


@pytest.mark.parametrize("rope", [{}, {"rope_type": "linear", "factor": 8.0}])
def test_inputs_are_those_of_transformers(rope, talkative, tmp_path):
    """Rows of 41 tokens, longer than the window of 16; with plain and with stretched positions."""
    import torch
    from transformers import Gemma3ForCausalLM

    (tmp_path / "model.safetensors").symlink_to(talkative / "model.safetensors")
    config = json.loads((talkative / "config.json").read_text())
    config["rope_parameters"]["full_attention"] |= rope
    (tmp_path / "config.json").write_text(json.dumps(config))

    expected = {}

    def collect(name, module, inputs):
        expected[name] = inputs[0].reshape(8 * 41, -1).numpy()

    model = Gemma3ForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    found = collect_inputs(tmp_path, ROWS)
    for name in found:
        model.get_submodule(name).register_forward_pre_hook(partial(collect, name))
    with torch.no_grad():
        model.model(torch.tensor(ROWS))
    for name, x in found.items():
        tolerance = 1e-5 * np.abs(expected[name]).max()
        np.testing.assert_allclose(x, expected[name], rtol=0, atol=tolerance, err_msg=name)


def test_rows_of_unequal_length_are_read_as_if_alone(talkative):
    rows = [row[:length] for row, length in zip(ROWS, (41, 3, 17), strict=False)]
    together = collect_inputs(talkative, rows)
    alone = [collect_inputs(talkative, [row]) for row in rows]
    for name, inputs in together.items():
        expected = np.concatenate([one[name] for one in alone])
        np.testing.assert_allclose(inputs, expected, rtol=1e-9, atol=1e-9)
