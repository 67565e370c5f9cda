"""A model directory -> keras-hub's Gemma 3 backbone. Nothing is downloaded here."""

from pathlib import Path

from safetensors import SafetensorError

from gemma_finetune.config import AUTO, SETTINGS
from gemma_finetune.formats.safetensors_file import open_weights
from gemma_finetune.models.keras_private import (
    weights_one_at_a_time,
    without_random_weights,
)
from gemma_finetune.models.library import keras, keras_hub
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import read_json, require
from gemma_finetune.utils.imports import without_unused
from gemma_finetune.utils.machine import return_freed_memory


def load_gemma_model(
    directory: str | Path, dtype: str = "float32"
) -> keras_hub.models.Gemma3Backbone:
    """The text Gemma 3 in `directory` (config.json, model.safetensors), weights cast to `dtype`.

    UserError if files are missing or damaged, if it is another kind of model, and for float16:
    Gemma 3's activations exceed its range.
    """
    if dtype == "float16":
        raise UserError("model.dtype: Gemma 3 overflows in float16; use bfloat16 or float32")
    if dtype == AUTO:
        raise UserError(
            f"model.dtype: {SETTINGS} does not say what auto is; run `dvc repro settings`"
        )
    directory = require(directory, "base")
    model_type = read_json(require(directory / "config.json", "base")).get("model_type")
    if model_type != "gemma3_text":
        raise UserError(
            f"{directory}/config.json: model_type is {model_type!r}; text Gemma 3 is gemma3_text"
        )
    with open_weights(require(directory / "model.safetensors", "base")):
        pass  # names a damaged file; keras-hub would end in a traceback
    return read_backbone(directory, dtype)


def read_backbone(
    directory: Path, dtype: str, remedy: str = "run the stage that makes it again"
) -> keras_hub.models.Gemma3Backbone:
    """A Gemma 3 from a directory in Hugging Face or KerasHub layout, as keras-hub reads it.

    UserError if its weights are damaged or do not fit its config.json.
    """
    path = str(directory.resolve())
    try:
        with without_unused(), without_random_weights(), weights_one_at_a_time():
            backbone = keras_hub.models.Gemma3Backbone.from_preset(path, dtype=dtype)
    except (SafetensorError, OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{directory}: its weights are damaged or not those of its config.json "
            f"({type(error).__name__}: {str(error)[:200]}); {remedy}"
        )
    return_freed_memory()  # what casting took
    return backbone


def logits(
    backbone: keras_hub.models.Gemma3Backbone, hidden: keras.KerasTensor
) -> keras.KerasTensor:
    """Hidden states (..., D) -> logits (..., V), in float32, through the tied embedding."""
    embeddings = keras.ops.cast(backbone.token_embedding.embeddings, "float32")  # (V, D)
    return keras.ops.matmul(keras.ops.cast(hidden, "float32"), keras.ops.transpose(embeddings))
