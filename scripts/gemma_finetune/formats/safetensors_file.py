"""Weights in safetensors format, opened: the one place that says what a damaged file is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes  # noqa: F401  (lets numpy hold bfloat16 tensors)
from safetensors import SafetensorError, safe_open

from gemma_finetune.utils.cli import UserError


@contextmanager
def open_weights(path: str | Path) -> Iterator[safe_open]:
    """The file, its tensors as numpy arrays. UserError if it is cut short, empty, or no safetensors
    file.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except (
        OSError,
        SafetensorError,
        KeyError,
        TypeError,
    ) as error:  # the last two: a type that numpy lacks
        raise UserError(
            f"{path}: damaged or cut short, or no weights ({error}); run the stage that makes it again"
        )
