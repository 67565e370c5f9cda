"""The JSON next to a bundle: what the bundle was made of, by digest.

It traces a file on a phone back to its run. It holds no time and no machine: the same run always
writes the same manifest.
"""

from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gemma_finetune.formats.bundle_file import Contents
from gemma_finetune.formats.lora_file import Adapter
from gemma_finetune.formats.tflite_file import Weight
from gemma_finetune.utils.files import sha256

# Packages whose version decides bytes of the model or of the bundle.
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
# Section 3.1 of the Gemma Terms of Use asks it of everyone who distributes a Gemma, or a model made
# from one.
GEMMA_NOTICE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at "
    "ai.google.dev/gemma/terms. "
    "This is a modified Gemma: fine-tuned, merged, converted and quantized."
)


def notice(preset: str) -> str:
    """The licence notice of a model made from `preset`: Gemma's, or none for the tiny base."""
    return "" if preset == "tiny" else GEMMA_NOTICE


def manifest(
    contents: Contents,
    weights: Sequence[Weight],
    adapter: Adapter,
    data: Sequence[Path],
    bundles: Sequence[Path],
    params: dict[str, Any],
) -> dict[str, Any]:
    """What a pair of bundles was made of. `params`: the sections of params.yaml that decided it.

    `export.calibration_tokens` among them: if it is not 0, the float model that was quantized was
    scaled for INT4 (AWQ), and its weights are not those of models/merged.
    """
    files = {path.name: {"sha256": sha256(path), "bytes": path.stat().st_size} for path in bundles}
    return {
        "bundles": files,
        "contents": asdict(contents),
        "quantization": quantization(weights),
        "base_sha256": adapter.base_sha256,
        "adapter": asdict(adapter.config),
        "data": {path.name: sha256(path) for path in data},
        "params": params,
        "packages": {name: version(name).partition("+")[0] for name in PACKAGES},  # without "+cpu"
        "notice": notice(params["model"]["preset"]),
    }


def quantization(weights: Sequence[Weight]) -> dict[str, str]:
    """{weight: its dtype and granularity}, layer by layer."""
    return {weight.name: f"{weight.dtype} {weight.granularity}".strip() for weight in weights}
