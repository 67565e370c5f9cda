"""Opens a model on Keras, TFLite or LiteRT-LM: the three answer a conversation the same way.

with open_backend("bundle", "models/bundle/int8.task", config) as backend:
    messages = [{"role": "user", "content": "Turn on the lamp"}]
    for piece in backend.generate(messages, Sampler(), max_tokens=64):
        print(piece, end="", flush=True)
"""

from pathlib import Path

from gemma_finetune.inference.config import GenerateConfig
from gemma_finetune.inference.interface import Backend
from gemma_finetune.runtime.threads import thread_count
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import require

DEFAULT_MODEL = {
    "keras": "models/merged",
    "tflite": "models/tflite/int8.tflite",
    "bundle": "models/bundle/int8.task",
}
_KIND_OF_FILE = {".task": "bundle", ".litertlm": "bundle", ".tflite": "tflite"}
_STAGE = {"keras": "merge", "tflite": "quantize", "bundle": "bundle"}


def open_backend(
    kind: str | None, path: str | None, config: GenerateConfig, tokenizer: str | None = None
) -> Backend:
    """The model at `path` on a backend. UserError if it is missing or cannot be used.

    kind: "keras", "tflite", "bundle", or None to tell it by `path`.
    path: None for the pipeline's own model of that kind.
    tokenizer: a tokenizer.model, for a bare .tflite of another pipeline.
    """
    kind = kind or _kind(path)
    model = _find(path or DEFAULT_MODEL[kind], _STAGE[kind])
    # Each backend is imported only when it is asked for: Keras takes seconds to import.
    if kind == "keras":
        from gemma_finetune.inference.keras_inference import open_keras

        return open_keras(model, config.dtype, config.context_length)
    threads = thread_count(model, config.threads)
    if kind == "tflite":
        from gemma_finetune.inference.tflite_inference import open_tflite

        return open_tflite(model, tokenizer, threads)
    from gemma_finetune.inference.bundle_inference import BundleBackend

    return BundleBackend(model, threads)


def _kind(path: str | None) -> str:
    if path is None:
        return "bundle"
    if Path(path).is_dir():
        return "keras"
    if Path(path).suffix not in _KIND_OF_FILE:
        raise UserError(
            f"{path}: not a model to talk to; name a {', '.join(_KIND_OF_FILE)} or a Hugging Face "
            "directory such as models/merged"
        )
    return _KIND_OF_FILE[Path(path).suffix]


def _find(path: str, stage: str) -> Path:
    """`path`, if it exists. UserError says how to get what the pipeline makes."""
    if not Path(path).is_absolute() and Path(path).parts[0] == "models":
        return require(path, stage)
    if not Path(path).exists():
        raise UserError(f"{path}: no such file or folder")
    return Path(path)
