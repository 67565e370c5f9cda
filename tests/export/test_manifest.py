import json

import numpy as np
import pytest

from gemma_finetune.export.manifest import manifest, notice
from gemma_finetune.formats.bundle_file import BundleFile
from gemma_finetune.formats.lora_file import Adapter
from gemma_finetune.formats.tflite_file import TFLiteFile
from gemma_finetune.utils.files import sha256
from lora_settings import lora_config

pytestmark = pytest.mark.slow


def test_traces_a_bundle_to_its_run(bundles, parts):
    config = lora_config(rank=1, alpha=2.0, targets=("q_proj",))
    adapter = Adapter(
        weights={"m.lora_A": np.zeros((1, 2), np.float32)}, config=config, base_sha256="b" * 64
    )
    made_of = manifest(
        contents=BundleFile(bundles["litertlm"]).contents(),
        weights=TFLiteFile(parts.tflite).weights(),
        adapter=adapter,
        data=[parts.tokenizer],
        bundles=list(bundles.values()),
        params={"model": {"preset": "hf://google/gemma-3-270m-it"}},
    )
    made_of = json.loads(json.dumps(made_of))
    assert made_of["bundles"]["int8.task"]["sha256"] == sha256(bundles["task"])
    assert made_of["contents"]["model_sha256"] == sha256(parts.tflite)
    assert made_of["adapter"] == {
        "rank": 1,
        "alpha": 2.0,
        "use_rslora": False,
        "dropout": 0.0,
        "targets": ["q_proj"],
        "quantization_aware": False,
    }
    assert made_of["data"] == {"tokenizer.model": sha256(parts.tokenizer)}
    assert made_of["quantization"]["layers.1.v_proj"] == "INT8 CHANNELWISE"
    assert made_of["packages"]["mediapipe"][0].isdigit()
    assert "ai.google.dev/gemma/terms" in made_of["notice"]


def test_the_tiny_base_is_no_gemma():
    assert notice("tiny") == ""
    assert "Gemma Terms of Use" in notice("gemma3_1b")
