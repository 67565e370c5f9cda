import json
import shutil

import numpy as np
import pytest
import transformers
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from gemma_finetune.base.preset import import_preset
from gemma_finetune.models.loader import keras_hub, load_gemma_model
from gemma_finetune.utils.errors import UserError

pytestmark = pytest.mark.slow


def test_a_hugging_face_directory_is_taken_as_it_is(base_dir, tmp_path):
    import_preset(base_dir, tmp_path / "base")
    for path in base_dir.iterdir():
        assert (tmp_path / "base" / path.name).read_bytes() == path.read_bytes(), path.name


def save_preset(base_dir, preset, dtype):
    return save(load_gemma_model(base_dir, dtype=dtype), base_dir, preset)


def save(backbone, base_dir, preset):
    backbone.save_to_preset(str(preset))
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


def test_sharded_weights_are_joined(source, tmp_path):
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


def test_beside_a_whole_file_the_shards_of_an_earlier_model_do_not_count(source, tmp_path):
    """As transformers does it."""
    tensors = load_file(source / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, source / "a.safetensors")
    index = {"weight_map": dict.fromkeys(tensors, "a.safetensors")}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    import_preset(source, tmp_path / "base")
    written = load_file(tmp_path / "base" / "model.safetensors")
    assert all(written[name].tobytes() == tensors[name].tobytes() for name in tensors)


@pytest.fixture
def source(base_dir, tmp_path):
    return shutil.copytree(base_dir, tmp_path / "source")


def rewrite(path, changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_copy_of_the_embedding_is_left_out(source, base_dir, tmp_path):
    tensors = load_file(source / "model.safetensors")
    copy = {"lm_head.weight": tensors["model.embed_tokens.weight"]}
    save_file(tensors | copy, source / "model.safetensors")
    import_preset(source, tmp_path / "base")
    written = load_file(tmp_path / "base" / "model.safetensors")
    assert written.keys() == tensors.keys()
    assert all(written[name].tobytes() == tensors[name].tobytes() for name in tensors)

    save_file(
        tensors | {"lm_head.weight": copy["lm_head.weight"] + 1}, source / "model.safetensors"
    )
    with pytest.raises(UserError, match="source: lm_head.weight differs from model.embed_tokens"):
        import_preset(source, tmp_path / "other")


def test_sizes_that_transformers_has_by_default_are_written(source, tmp_path):
    """head_dim is 256 there by default: a query then has 4 x 256 rows, and a key 256."""
    config = json.loads((source / "config.json").read_text())
    del config["head_dim"], config["sliding_window"], config["query_pre_attn_scalar"]
    (source / "config.json").write_text(json.dumps(config))
    tensors = load_file(source / "model.safetensors")
    rows = {"q_proj": (1024, 32), "k_proj": (256, 32), "v_proj": (256, 32), "o_proj": (32, 1024)}
    for name in tensors:
        shape = rows.get(name.split(".")[-2]) or ((256,) if name.endswith("k_norm.weight") else ())
        shape = shape or ((256,) if name.endswith("q_norm.weight") else tensors[name].shape)
        tensors[name] = np.ones(shape, np.float32)
    save_file(tensors, source / "model.safetensors")
    import_preset(source, tmp_path / "base")
    written = json.loads((tmp_path / "base" / "config.json").read_text())
    assert (written["head_dim"], written["sliding_window"]) == (256, 4096)
    assert load_gemma_model(tmp_path / "base").head_dim == 256


def test_the_precision_is_that_of_the_weights(source, tmp_path):
    rewrite(source / "config.json", {"dtype": "bfloat16"})
    import_preset(source, tmp_path / "base")
    assert json.loads((tmp_path / "base" / "config.json").read_text())["dtype"] == "float32"


def test_a_tokenizer_of_another_model_is_refused(source, base_dir, tmp_path, tokenizer):
    rows = tokenizer.vocabulary_size - 1
    rewrite(source / "config.json", {"vocab_size": rows})
    tensors = load_file(source / "model.safetensors")
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:rows]
    save_file(tensors, source / "model.safetensors")
    with pytest.raises(UserError, match=f"has {rows + 1} pieces and its embedding {rows} rows"):
        import_preset(source, tmp_path / "base")


def test_damaged_files_are_named_with_what_to_do(source, tmp_path):
    weights, config = source / "model.safetensors", source / "config.json"
    tokenizer = source / "tokenizer.model"
    for path, content, says in (
        (weights, b"version https://git-lfs.github.com/spec/v1\n", "fetch .* with `git lfs pull`"),
        (weights, bytes(99), "model.safetensors: damaged .*; download the model again"),
        (tokenizer, bytes(range(256)), "source/tokenizer.model: not a SentencePiece .*; download"),
        (config, b'{"model_type": ', "not valid JSON .*; download the model again"),
        (config, b"[]", "config.json is no configuration of a model"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=says):
            import_preset(source, tmp_path / f"base {says[:4]}")


def test_weights_of_a_keras_hub_preset_are_checked(base_dir, tmp_path):
    backbone = load_gemma_model(base_dir)
    norm = backbone.get_layer("decoder_block_2").pre_ffw_norm.scale
    norm.assign(np.full(norm.shape, np.nan))
    preset = save(backbone, base_dir, tmp_path / "preset")
    name = "model.layers.2.pre_feedforward_layernorm.weight"
    with pytest.raises(UserError, match=f"/preset: {name} holds NaN"):
        import_preset(preset, tmp_path / "base")

    (preset / "model.weights.h5").write_bytes(b"cut short")
    with pytest.raises(UserError, match="preset: its weights are damaged .* download the model"):
        import_preset(preset, tmp_path / "other")


def test_an_incomplete_directory_names_what_is_missing(base_dir, tmp_path):
    with pytest.raises(UserError, match="has no config.json"):
        import_preset(tmp_path, tmp_path / "base")
    shutil.copyfile(base_dir / "config.json", tmp_path / "config.json")
    with pytest.raises(UserError, match="tokenizer.model is missing; the model directory is not"):
        import_preset(tmp_path, tmp_path / "base")
    (tmp_path / "tokenizer.json").touch()  # what transformers saves after a fine-tuning
    with pytest.raises(UserError, match="tokenizer.model is missing, .*copy tokenizer.model there"):
        import_preset(tmp_path, tmp_path / "other")


def test_transformers_reads_text_as_sentencepiece_does(base_dir, tokenizer):
    """User-defined pieces included, which transformers' own conversion would split."""
    theirs = transformers.AutoTokenizer.from_pretrained(base_dir)
    for text in (
        "<start_of_turn>user\nTurn on the light\n\n<end_of_turn>\n",
        '{"name": "x", "arguments": {"a": 4}}',
        "é 日本 🎵",
    ):
        assert theirs(text, add_special_tokens=False)["input_ids"] == tokenizer.encode(text)
