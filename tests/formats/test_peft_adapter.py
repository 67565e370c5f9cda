"""Both ways against PEFT itself, on transformers; and every refusal, without either."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import peft_adapter as script
from gemma_finetune.export.merge import target_shapes
from gemma_finetune.formats.lora_file import Adapter, base_digest, load_lora, save_lora
from gemma_finetune.formats.peft_adapter import read_peft, write_peft
from gemma_finetune.models.loader import load_gemma_model, logits
from gemma_finetune.models.lora import apply_lora, set_adapter_weights
from gemma_finetune.utils.errors import UserError
from lora_settings import lora_config

pytestmark = pytest.mark.slow

CONFIG = lora_config(use_rslora=True, dropout=0.1, targets=("q_proj", "o_proj", "down_proj"))
IDS = np.arange(5, 45)[None]  # (1, T)


def save_random_lora(path, base_dir, config=CONFIG):
    rng = np.random.default_rng(0)
    weights = {}
    for module, (rows, columns) in target_shapes(base_dir, config.targets).items():
        weights[f"{module}.lora_A"] = rng.normal(0, 0.1, (config.rank, columns)).astype("float32")
        weights[f"{module}.lora_B"] = rng.normal(0, 0.1, (rows, config.rank)).astype("float32")
    save_lora(path, weights, config, base_digest(base_dir))
    return load_lora(path)


def keras_logits(base_dir, adapter):
    backbone = load_gemma_model(base_dir)
    set_adapter_weights(apply_lora(backbone, adapter.config), adapter.weights)
    return np.asarray(
        logits(backbone, backbone({"token_ids": IDS, "padding_mask": np.ones_like(IDS)}))
    )


def torch_model(base_dir):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        base_dir, dtype=torch.float32, local_files_only=True
    )


def torch_logits(model):
    import torch

    with torch.inference_mode():
        return model.eval()(torch.from_numpy(IDS), use_cache=False).logits.numpy()


def assert_same(ours, theirs, base):
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
    assert np.abs(theirs - base).max() > 1e-2 * np.abs(theirs).max()


def test_ours_says_the_same_in_peft(base_dir, tmp_path):
    from peft import PeftModel

    adapter = save_random_lora(tmp_path / "lora.npz", base_dir)
    write_peft(tmp_path / "peft", adapter, str(base_dir))
    base = torch_logits(torch_model(base_dir))
    theirs = torch_logits(PeftModel.from_pretrained(torch_model(base_dir), tmp_path / "peft"))
    assert_same(keras_logits(base_dir, adapter), theirs, base)


def test_pefts_says_the_same_in_ours(base_dir, tmp_path):
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    settings = LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules="all-linear",
        lora_dropout=0.2,
        init_lora_weights=False,
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(torch_model(base_dir), settings)
    model.save_pretrained(tmp_path / "peft")
    script.import_adapter(tmp_path / "peft", tmp_path / "lora.npz", base_dir)
    adapter = load_lora(tmp_path / "lora.npz")
    assert (adapter.config.rank, adapter.config.alpha, adapter.config.dropout) == (4, 6, 0.2)
    assert len(adapter.config.targets) == 7
    assert_same(
        keras_logits(base_dir, adapter), torch_logits(model), torch_logits(torch_model(base_dir))
    )


@pytest.fixture
def peft_dir(base_dir, tmp_path):
    write_peft(tmp_path / "peft", save_random_lora(tmp_path / "lora.npz", base_dir), str(base_dir))
    return tmp_path / "peft"


def test_there_and_back_is_the_same_file(base_dir, tmp_path, peft_dir):
    script.import_adapter(peft_dir, tmp_path / "back.npz", base_dir)
    assert (tmp_path / "back.npz").read_bytes() == (tmp_path / "lora.npz").read_bytes()


def test_bfloat16_tensors_are_read(base_dir, peft_dir):
    import ml_dtypes

    path = peft_dir / "adapter_model.safetensors"
    save_file(
        {name: array.astype(ml_dtypes.bfloat16) for name, array in load_file(path).items()}, path
    )
    assert {array.dtype for array in read_peft(peft_dir, "").weights.values()} == {
        np.dtype("float32")
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bias": "lora_only"}, 'bias = "lora_only"'),
        ({"modules_to_save": ["lm_head"]}, r'modules_to_save = \["lm_head"\]'),
        ({"use_dora": True}, "use_dora = true"),
        ({"alpha_pattern": {"q_proj": 4}}, "alpha_pattern"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"init_lora_weights": "pissa"}, 'init_lora_weights = "pissa"'),
        ({"something_of_tomorrow": 1}, "something_of_tomorrow = 1"),
        ({"peft_type": "IA3"}, "not a LoRA adapter"),
        ({"r": "eight"}, "not the settings of a LoRA adapter"),
        ({"r": 8}, "expected float32 of rank 8"),
    ],
)
def test_settings_that_cannot_be_held_are_named(base_dir, tmp_path, peft_dir, change, says):
    path = peft_dir / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=says):
        script.import_adapter(peft_dir, tmp_path / "new.npz", base_dir)
    assert not (tmp_path / "new.npz").exists()


LAYER = "base_model.model.model.layers.2.self_attn.q_proj"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda t: t.update({f"{LAYER}.lora_magnitude_vector": np.zeros(4)}),
            "lora_magnitude_vector: not supported",
        ),
        (
            lambda t: t.update({"base_model.model.lm_head.lora_A.weight": np.zeros((4, 8))}),
            "lm_head.lora_A: not supp",
        ),
        (
            lambda t: t.update(
                {LAYER.replace("layers", "language_model.layers") + ".lora_A.weight": 0}
            ),
            "not supported",
        ),
        (lambda t: t.pop(f"{LAYER}.lora_B.weight"), "counterpart .*lora_B is missing"),
        (
            lambda t: (t.pop(f"{LAYER}.lora_A.weight"), t.pop(f"{LAYER}.lora_B.weight")),
            "no adapter for .*layers.2",
        ),
    ],
)
def test_tensors_that_cannot_be_held_are_named(base_dir, tmp_path, peft_dir, change, says):
    path = peft_dir / "adapter_model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file({name: np.asarray(array, "float32") for name, array in tensors.items()}, path)
    with pytest.raises(UserError, match=says):
        script.import_adapter(peft_dir, tmp_path / "new.npz", base_dir)


def test_missing_and_damaged_files_are_named(base_dir, tmp_path, peft_dir):
    (peft_dir / "adapter_model.safetensors").write_bytes(b"hello")
    with pytest.raises(UserError, match="adapter_model.safetensors: damaged or cut short"):
        read_peft(peft_dir, "")
    (peft_dir / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match="adapter_model.safetensors is missing"):
        read_peft(peft_dir, "")


def test_the_script_goes_both_ways_and_replaces_nothing_unasked(
    base_dir, tmp_path, monkeypatch, capsys
):
    lora, peft = tmp_path / "lora.npz", tmp_path / "peft"
    save_random_lora(lora, base_dir, replace(CONFIG, use_rslora=False))
    before = lora.read_bytes()

    def call(*words):
        monkeypatch.setattr(
            sys, "argv", ["peft_adapter.py", *map(str, words), "--base", str(base_dir)]
        )
        script.main()
        return capsys.readouterr().out

    assert "18 modules, rank 4, q_proj, o_proj, down_proj" in call("export", peft, "--lora", lora)
    settings = json.loads((peft / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(base_dir.resolve())
    with pytest.raises(UserError, match="lora.npz exists; name another place, or add --force"):
        call("import", peft, lora)
    lora.unlink()
    call("import", peft, lora)
    assert lora.read_bytes() == before
    call("export", peft, "--lora", lora, "--force")
    thesis = tmp_path / "thesis"
    thesis.mkdir()
    (thesis / "chapter.txt").touch()
    with pytest.raises(UserError, match="not a PEFT adapter, so --force does not replace it"):
        call("export", thesis, "--lora", lora, "--force")
    with pytest.raises(UserError, match="is a folder; name a file"):
        call("import", peft, thesis, "--force")
    assert (thesis / "chapter.txt").exists()
    shutil.rmtree(peft)


@pytest.mark.parametrize(
    ("preset", "name"),
    [
        ("hf://google/gemma-3-270m-it", "google/gemma-3-270m-it"),
        ("hf://google/gemma-3-270m-it@main", "google/gemma-3-270m-it"),
        ("gemma3_instruct_270m", None),  # of Kaggle, which PEFT does not know
    ],
)
def test_peft_is_told_the_base_by_its_name_on_the_hub_or_its_absolute_path(tmp_path, preset, name):
    (tmp_path / "source.json").write_text(json.dumps({"preset": preset, "revision": "1"}))
    assert script.base_name(tmp_path) == (name or str(tmp_path.resolve()))


def test_a_quantization_aware_adapter_is_refused(tmp_path):
    config = replace(CONFIG, dropout=0.0, quantization_aware=True)
    with pytest.raises(
        UserError, match="quantization_aware: PEFT would put it on a base that is not rounded"
    ):
        write_peft(tmp_path / "peft", Adapter(weights={}, config=config, base_sha256=""), "base")
    assert not (tmp_path / "peft").exists()
