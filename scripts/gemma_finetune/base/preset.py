"""A model directory in Hugging Face or KerasHub layout -> models/base, in Hugging Face layout."""

import shutil
from pathlib import Path
from typing import Any

from gemma_finetune.formats.hf_layout import finish_layout
from gemma_finetune.formats.safetensors_file import open_weights
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import read_json

# Settings of a config.json that make another model of a Gemma 3, and what they are.
HF_VARIANTS = {
    "attn_logit_softcapping": "soft-caps its attention logits",
    "final_logit_softcapping": "soft-caps its logits",
    "use_bidirectional_attention": "attends to later tokens, as an embedding model does",
    "quantization_config": "has quantized weights",
}
KERAS_VARIANTS = {
    "attention_logit_soft_cap": "soft-caps its attention logits",
    "final_logit_soft_cap": "soft-caps its logits",
    "use_bidirectional_attention": "attends to later tokens, as an embedding model does",
    "is_embedding_model": "is an embedding model",
}


def import_preset(source: Path, directory: Path) -> None:
    """Writes the text Gemma 3 in `source` to `directory`, which must not exist.

    config.json, model.safetensors, tokenizer.model and the rest of the Hugging Face layout. Weights
    keep their precision. UserError if files are missing or damaged, or if it is another model.
    """
    if not (source / "config.json").is_file():
        raise UserError(
            f"model.preset: {source} has no config.json; "
            "it is no model in Hugging Face or KerasHub layout"
        )
    config = read_json(source / "config.json")
    if not isinstance(config, dict):
        raise UserError(f"model.preset: {source / 'config.json'} is no configuration of a model")

    directory.mkdir(parents=True)
    if "model_type" in config:
        dtype = _copy_hugging_face(source, directory, config)
    else:
        dtype = _export_keras_hub(source, directory, config)
    finish_layout(directory, dtype)


def _copy_hugging_face(source: Path, directory: Path, config: dict[str, Any]) -> str:
    """Copies a model in Hugging Face layout; returns its dtype."""
    if config["model_type"] != "gemma3_text":
        raise UserError(
            f"model.preset: {source} is a {config['model_type']!r} model; "
            "only text Gemma 3 (270M, 1B) is supported"
        )
    _refuse_variants(source, config, HF_VARIANTS)
    for name in ("config.json", "tokenizer.model"):
        shutil.copyfile(_need(source / name), directory / name)

    index = source / "model.safetensors.index.json"
    if index.is_file():
        _join_shards(source, _shards(index), directory)
    else:
        weights = _need(source / "model.safetensors")
        with open_weights(weights):
            pass  # not damaged; copied outside, where a full disk is not blamed on the file
        shutil.copyfile(weights, directory / "model.safetensors")
    _check_weights(source, directory / "model.safetensors", config)
    return config.get("dtype") or config.get("torch_dtype") or "float32"


def _check_weights(source: Path, weights: Path, config: dict[str, Any]) -> None:
    """UserError unless the weights have the vocabulary, width and layers of the config.json."""
    layers = config.get("num_hidden_layers")
    shape = [config.get("vocab_size"), config.get("hidden_size")]
    with open_weights(weights) as file:
        names = set(file.keys())
        embedding = "model.embed_tokens.weight"
        found = file.get_slice(embedding).get_shape() if embedding in names else None
    norms = {name for name in names if name.endswith(".self_attn.q_norm.weight")}
    if found != shape or len(norms) != layers:
        raise UserError(
            f"model.preset: the weights in {source} are not those of its config.json, which tells "
            f"of {layers} layers and an embedding of {shape}; found {len(norms)} layers of a "
            f"Gemma 3 and an embedding of {found}"
        )


def _refuse_variants(source: Path, config: dict[str, Any], variants: dict[str, str]) -> None:
    """UserError for a Gemma 3 that training or export would compute as another one."""
    found = [f"{what} ({key})" for key, what in variants.items() if config.get(key)]
    if found:
        raise UserError(
            f"model.preset: the model in {source} {found[0]}, which is not supported; "
            "use a text Gemma 3 as published (270M, 1B)"
        )


def _shards(index: Path) -> list[str]:
    """The names of the files that hold the weights, all in the folder of the index."""
    try:
        names = sorted(set(read_json(index)["weight_map"].values()))
        if any(Path(name).name != name for name in names):
            raise ValueError("a file elsewhere")
        return names
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"model.preset: {index} does not say where the weights are ({error}); download it again"
        )


def _join_shards(source: Path, names: list[str], directory: Path) -> None:
    """Writes one model.safetensors with the tensors of all shards."""
    from safetensors.numpy import save_file

    tensors = {}
    for name in names:
        with open_weights(_need(source / name)) as file:
            for key in file.keys():
                tensors[key] = file.get_tensor(key)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})


def _export_keras_hub(source: Path, directory: Path, config: dict[str, Any]) -> str:
    """Exports a model in KerasHub layout; returns its dtype."""
    from gemma_finetune.models.loader import read_backbone

    if "Gemma3Backbone" not in str(config.get("registered_name")):
        raise UserError(
            f"model.preset: {source} is a {config.get('registered_name')!r} preset; "
            "only Gemma 3 is supported"
        )
    if config.get("config", {}).get("vision_encoder") is not None:
        raise UserError(
            f"model.preset: {source} has a vision encoder; use a text preset (270M, 1B)"
        )
    _refuse_variants(source, config["config"], KERAS_VARIANTS)
    dtype = _saved_dtype(config["config"].get("dtype"))
    export_backbone(read_backbone(source, dtype), directory)
    vocabulary = _need(source / "assets" / "tokenizer" / "vocabulary.spm")
    shutil.copyfile(vocabulary, directory / "tokenizer.model")
    return dtype


def _saved_dtype(policy: str | dict[str, Any] | None) -> str:
    """The precision of a preset's weights.

    Keras saves a dtype policy as its name, or as {"config": {"name": ...}}.
    """
    name = policy["config"]["name"] if isinstance(policy, dict) else policy
    return "bfloat16" if name == "bfloat16" else "float32"


def export_backbone(backbone: Any, directory: Path) -> None:
    """Writes config.json and model.safetensors of a keras-hub backbone, in Hugging Face layout."""
    from gemma_finetune.models.loader import keras_hub

    model = keras_hub.models.Gemma3CausalLM(backbone=backbone, preprocessor=None)
    model.export_to_transformers(str(directory))


def _need(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"model.preset: {path} is missing; the model directory is not complete")
    return path
