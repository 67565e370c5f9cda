import json
import shutil

import numpy as np
import pytest
import torch
import transformers

from gemma_finetune.models.loader import load_gemma_model, logits
from gemma_finetune.utils.cli import UserError


def test_keras_and_transformers_read_the_same_model(base_dir, tokenizer):
    ids = np.random.default_rng(0).integers(4, tokenizer.vocabulary_size, (1, 48)).astype("int32")
    backbone = load_gemma_model(base_dir)
    ours = np.asarray(logits(backbone, backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)})))
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
