"""The one interface of inference: Keras, TFLite and the bundle answer a conversation the same way.

with open_backend("bundle", "models/bundle/int8.task", config) as backend:
    for piece in backend.generate([{"role": "user", "content": "Turn on the lamp"}], Sampler(), max_tokens=64):
        print(piece, end="", flush=True)
"""

from pathlib import Path

from gemma_finetune.inference.config import GenerateConfig
from gemma_finetune.inference.interface import Backend
from gemma_finetune.runtime.threads import thread_count
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import require

DEFAULT_MODEL = {
    "keras": "models/merged",
    "tflite": "models/tflite/int8.tflite",
    "bundle": "models/bundle/int8.task",
}
_STAGE = {"keras": "merge", "tflite": "quantize", "bundle": "bundle"}


def open_backend(
    kind: str | None, path: str | None, config: GenerateConfig, tokenizer: str | None = None
) -> Backend:
    """The model at `path` on "keras", "tflite" or "bundle"; without a kind what `path` looks like,
    or the bundle.

    Without a path the pipeline's own model. `tokenizer` is for a bare .tflite of another pipeline.
    Only what the kind needs is imported.
    """
    kind = kind or _kind(path)
    model = _find(path or DEFAULT_MODEL[kind], _STAGE[kind])
    if kind == "keras":
        from gemma_finetune.inference.keras_inference import open_keras

        return open_keras(model, config.dtype, config.context_length)
    threads = thread_count(model, config.threads)
    if kind == "tflite":
        from gemma_finetune.inference.tflite_inference import open_tflite

        return open_tflite(model, tokenizer, threads)
    from gemma_finetune.inference.bundle_inference import BundleBackend

    return BundleBackend(model, threads)


def _kind(path):
    if path and Path(path).is_dir():
        return "keras"
    return "tflite" if path and Path(path).suffix == ".tflite" else "bundle"


def _find(path, stage):
    """`path`, if it exists. What the pipeline makes is told how to get; anything else is just not
    there.
    """
    if not Path(path).is_absolute() and Path(path).parts[0] == "models":
        return require(path, stage)
    if not Path(path).exists():
        raise UserError(f"{path}: no such file or folder")
    return Path(path)
