import json
import shutil

import numpy as np
import pytest
import torch
import transformers

from gemma_finetune.models.loader import load_gemma_model, logits
from gemma_finetune.utils.errors import UserError

pytestmark = pytest.mark.slow


def test_keras_and_transformers_read_the_same_model(base_dir, tokenizer):
    ids = np.random.default_rng(0).integers(4, tokenizer.vocabulary_size, (1, 48)).astype("int32")
    backbone = load_gemma_model(base_dir)
    hidden = backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    ours = np.asarray(logits(backbone, hidden))
    reference = transformers.AutoModelForCausalLM.from_pretrained(base_dir, dtype=torch.float32)
    with torch.no_grad():
        theirs = reference(torch.tensor(ids.astype("int64"))).logits.numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


def test_float16_other_models_and_a_missing_base_are_refused(base_dir, tmp_path):
    with pytest.raises(UserError, match="float16"):
        load_gemma_model(base_dir, dtype="float16")
    with pytest.raises(UserError, match="dvc repro base"):
        load_gemma_model(tmp_path / "nowhere")
    other = shutil.copytree(base_dir, tmp_path / "other")
    config = json.loads((other / "config.json").read_text()) | {"model_type": "llama"}
    (other / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="model_type is 'llama'"):
        load_gemma_model(other)


@pytest.mark.parametrize("part", [0.999, 0.0001, 0])
def test_weights_that_are_cut_short_are_named(base_dir, tmp_path, part):
    weights = shutil.copytree(base_dir, tmp_path / "base") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[: int(part * weights.stat().st_size)])
    with pytest.raises(UserError, match="base/model.safetensors: damaged or cut short"):
        load_gemma_model(weights.parent)
