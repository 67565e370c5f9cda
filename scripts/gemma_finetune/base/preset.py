"""A model directory in Hugging Face or KerasHub layout -> models/base, in Hugging Face layout."""

import json
import shutil
from pathlib import Path
from typing import Any

from gemma_finetune.base.architecture import (
    AGAIN,
    LM_HEAD,
    check_config,
    check_weights,
    saved_dtype,
    with_sizes,
)
from gemma_finetune.formats.foreign import foreign
from gemma_finetune.formats.hf_layout import finish_layout
from gemma_finetune.formats.safetensors_file import open_weights
from gemma_finetune.formats.tokenizer import GemmaTokenizer
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import read_json


def import_preset(source: Path, directory: Path) -> None:
    """Writes the text Gemma 3 in `source` to `directory`, which must not exist.

    config.json, model.safetensors, tokenizer.model and the rest of the Hugging Face layout. Weights
    keep their precision. UserError if files are missing or damaged, or if it is another model.
    """
    path = source / "config.json"
    if not path.is_file():
        raise UserError(
            f"model.preset: {source} has no config.json; "
            "it is no model in Hugging Face or KerasHub layout"
        )
    config = read_json(path, remedy=AGAIN)
    check_config(config, str(path))

    directory.mkdir(parents=True)
    if "model_type" in config:
        dtype = _copy_hugging_face(source, directory, config)
    else:
        dtype = _export_keras_hub(source, directory, config)
    finish_layout(directory, dtype)


def _copy_hugging_face(source: Path, directory: Path, config: dict[str, Any]) -> str:
    """Copies a model in Hugging Face layout; returns its dtype."""
    config = with_sizes(config)
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    _copy_tokenizer(source / "tokenizer.model", directory, config["vocab_size"])

    # Where both are there, transformers takes the single file.
    single, index = source / "model.safetensors", source / "model.safetensors.index.json"
    is_split = index.is_file() and not single.is_file()
    names = _shards(index) if is_split else [single.name]
    files = [_need(source / name) for name in names]
    dtype = check_weights(files, config, str(source))
    with open_weights(files[0], remedy=AGAIN) as file:
        has_copy = LM_HEAD in file.keys()
    if is_split or has_copy:
        _join(files, directory / "model.safetensors")
    else:
        shutil.copyfile(files[0], directory / "model.safetensors")
    return dtype


def _copy_tokenizer(path: Path, directory: Path, rows: int) -> None:
    """Copies a tokenizer. UserError if it has more pieces than the embedding has `rows`."""
    if not path.is_file() and path.with_name("tokenizer.json").is_file():
        raise UserError(
            f"model.preset: {path} is missing, and tokenizer.json alone is not enough: copy "
            "tokenizer.model there from the Gemma 3 that this model was made from"
        )
    pieces = GemmaTokenizer(_need(path), remedy=AGAIN).vocabulary_size
    if pieces > rows:
        raise UserError(
            f"model.preset: its tokenizer has {pieces} pieces and its embedding {rows} rows "
            "(vocab_size in its config.json); they are not of one model; "
            f"{AGAIN}"
        )
    shutil.copyfile(path, directory / "tokenizer.model")


def _shards(index: Path) -> list[str]:
    """The names of the files that hold the weights, all in the folder of the index."""
    try:
        names = sorted(set(read_json(index, remedy=AGAIN)["weight_map"].values()))
        if any(Path(name).name != name for name in names):
            raise ValueError("a file elsewhere")
        return names
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"model.preset: {index} does not say where the weights are ({error}); {AGAIN}"
        )


def _join(files: list[Path], path: Path) -> None:
    """Writes the tensors of all files to one, without the copy of the embedding."""
    from safetensors.numpy import save_file

    tensors = {}
    for part in files:
        with open_weights(part) as file:
            for name in file.keys():
                tensors[name] = file.get_tensor(name)
    tensors.pop(LM_HEAD, None)
    save_file(tensors, path, metadata={"format": "pt"})


def _export_keras_hub(source: Path, directory: Path, config: dict[str, Any]) -> str:
    """Exports a model in KerasHub layout; returns its dtype."""
    from gemma_finetune.models.loader import read_backbone

    vocabulary = source / "assets" / "tokenizer" / "vocabulary.spm"
    _copy_tokenizer(vocabulary, directory, config["config"]["vocabulary_size"])
    dtype = "bfloat16" if saved_dtype(config["config"]) == "bfloat16" else "float32"
    export_backbone(read_backbone(source, dtype, remedy=AGAIN), directory)

    exported = read_json(directory / "config.json")
    check_config(exported, str(source / "config.json"))
    return check_weights([directory / "model.safetensors"], exported, str(source))


def export_backbone(backbone: Any, directory: Path) -> None:
    """Writes config.json and model.safetensors of a keras-hub backbone, in Hugging Face layout."""
    from gemma_finetune.models.loader import keras_hub

    model = keras_hub.models.Gemma3CausalLM(backbone=backbone, preprocessor=None)
    model.export_to_transformers(str(directory))


def _need(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"model.preset: {path} is missing; the model directory is not complete")
    what = foreign(path)
    if what:
        raise UserError(f"model.preset: {path} is {what}")
    return path
