import json
import shutil

import pytest
import transformers
from safetensors import safe_open

from gemma_finetune.base.preset import import_preset
from gemma_finetune.models.loader import keras_hub, load_gemma_model
from gemma_finetune.utils.cli import UserError

pytestmark = pytest.mark.slow


def test_a_hugging_face_directory_is_taken_as_it_is(base_dir, tmp_path):
    import_preset(base_dir, tmp_path / "base")
    for path in base_dir.iterdir():
        assert (tmp_path / "base" / path.name).read_bytes() == path.read_bytes(), path.name


def save_preset(base_dir, preset, dtype):
    load_gemma_model(base_dir, dtype=dtype).save_to_preset(str(preset))
    assets = preset / "assets" / "tokenizer"
    assets.mkdir(parents=True)
    shutil.copyfile(base_dir / "tokenizer.model", assets / "vocabulary.spm")
    return preset


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_keras_hub_preset_keeps_its_precision(base_dir, tmp_path, dtype):
    import_preset(save_preset(base_dir, tmp_path / "preset", dtype), tmp_path / "base")
    with safe_open(tmp_path / "base" / "model.safetensors", framework="numpy") as file:
        found = {file.get_slice(name).get_dtype() for name in file.keys()}
    assert found == {{"float32": "F32", "bfloat16": "BF16"}[dtype]}
    assert json.loads((tmp_path / "base" / "config.json").read_text())["dtype"] == dtype


def test_a_keras_hub_preset_ends_as_the_same_files(base_dir, tmp_path):
    import_preset(save_preset(base_dir, tmp_path / "preset", "float32"), tmp_path / "base")
    names = "model.safetensors tokenizer.model generation_config.json tokenizer_config.json"
    for name in names.split():
        assert (tmp_path / "base" / name).read_bytes() == (base_dir / name).read_bytes(), name
    assert keras_hub.models.Gemma3Backbone.from_preset(str(tmp_path / "base")).num_layers == 6


def test_sharded_weights_are_joined(base_dir, tmp_path):
    from safetensors.numpy import load_file, save_file

    source = shutil.copytree(base_dir, tmp_path / "source")
    tensors = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, keys in shards.items():
        save_file({key: tensors[key] for key in keys}, source / file)
    index = {"weight_map": {key: file for file, keys in shards.items() for key in keys}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    import_preset(source, tmp_path / "base")
    joined = load_file(tmp_path / "base" / "model.safetensors")
    assert sorted(joined) == names
    assert all(joined[name].tobytes() == tensors[name].tobytes() for name in names)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "gemma3"}, "'gemma3' model; only text Gemma 3"),
        ({"model_type": "llama"}, "'llama' model; only text Gemma 3"),
        ({"registered_name": "keras_hub>BertBackbone"}, "BertBackbone' preset; only Gemma 3"),
        (
            {"registered_name": "keras_hub>Gemma3Backbone", "config": {"vision_encoder": {}}},
            "vision encoder",
        ),
        (
            {"model_type": "gemma3_text", "final_logit_softcapping": 30.0},
            "soft-caps its logits .final_logit_softcapping., which is not supported",
        ),
        (
            {"model_type": "gemma3_text", "attn_logit_softcapping": 50.0},
            "soft-caps its attention logits",
        ),
        (
            {"model_type": "gemma3_text", "use_bidirectional_attention": True},
            "attends to later tokens, as an embedding model does",
        ),
        (
            {
                "registered_name": "keras_hub>Gemma3Backbone",
                "config": {"final_logit_soft_cap": 30.0},
            },
            "soft-caps its logits .final_logit_soft_cap.",
        ),
    ],
)
def test_other_models_are_refused(tmp_path, config, says):
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=says):
        import_preset(tmp_path, tmp_path / "base")


@pytest.mark.parametrize("change", [{"num_hidden_layers": 7}, {"vocab_size": 9}])
def test_weights_of_another_model_are_refused(base_dir, tmp_path, change):
    source = shutil.copytree(base_dir, tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(UserError, match="not those of its config.json, .* found 6 layers"):
        import_preset(source, tmp_path / "base")


def test_an_incomplete_directory_names_what_is_missing(base_dir, tmp_path):
    with pytest.raises(UserError, match="has no config.json"):
        import_preset(tmp_path, tmp_path / "base")
    shutil.copyfile(base_dir / "config.json", tmp_path / "config.json")
    with pytest.raises(UserError, match="tokenizer.model is missing"):
        import_preset(tmp_path, tmp_path / "base")


def test_transformers_reads_text_as_sentencepiece_does(base_dir, tokenizer):
    """User-defined pieces included, which transformers' own conversion would split."""
    theirs = transformers.AutoTokenizer.from_pretrained(base_dir)
    for text in (
        "<start_of_turn>user\nTurn on the light\n\n<end_of_turn>\n",
        '{"name": "x", "arguments": {"a": 4}}',
        "é 日本 🎵",
    ):
        assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text)
