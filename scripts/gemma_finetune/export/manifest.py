"""The JSON beside a bundle: what it was made of, by digest, so that a file on a phone can be traced
to its run.

Holds no time and no machine: the same run writes the same manifest.
"""

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from gemma_finetune.formats.bundle_file import Contents
from gemma_finetune.formats.lora_file import Adapter
from gemma_finetune.formats.tflite_file import Weight
from gemma_finetune.utils.files import sha256

# Those whose version decides a byte of the model or of the bundle.
PACKAGES = (
    "ai-edge-quantizer",
    "jax",
    "keras",
    "keras-hub",
    "litert-converter",
    "litert-lm-builder",
    "litert-torch",
    "mediapipe",
    "torch",
    "transformers",
)
# Asked for by section 3.1 of the Gemma Terms of Use of everyone who passes a Gemma, or a model made
# from it, on.
GEMMA_NOTICE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms. "
    "This is a modified Gemma: fine-tuned, merged, converted and quantized."
)


def notice(preset: str) -> str:
    """The licence notice of a model made from `preset`: Gemma's, or none for the tiny base made
    here.
    """
    return "" if preset == "tiny" else GEMMA_NOTICE


def manifest(
    contents: Contents,
    weights: list[Weight],
    adapter: Adapter,
    data: list[Path],
    bundles: list[Path],
    params: dict,
) -> dict:
    """What a pair of bundles was made of. `params` are the sections of params.yaml that made it."""
    return {
        "bundles": {
            path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in bundles
        },
        "contents": asdict(contents),
        "quantization": quantization(weights),
        "base_sha256": adapter.base_sha256,
        "adapter": asdict(adapter.config),
        "data": {path.name: sha256(path) for path in data},
        "params": params,
        "packages": {name: version(name).partition("+")[0] for name in PACKAGES},  # without "+cpu"
        "notice": notice(params["model"]["preset"]),
    }


def quantization(weights: list[Weight]) -> dict[str, str]:
    """{weight: its dtype and granularity}, layer by layer."""
    return {weight.name: f"{weight.dtype} {weight.granularity}".strip() for weight in weights}
