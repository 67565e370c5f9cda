"""Opens weights in safetensors format. The one place that decides what a damaged file is."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes  # noqa: F401  (lets numpy hold bfloat16 tensors)
from safetensors import SafetensorError, safe_open

from gemma_finetune.utils.errors import UserError


@contextmanager
def open_weights(
    path: str | Path, remedy: str = "run the stage that makes it again"
) -> Iterator[safe_open]:
    """The opened file, which gives its tensors as numpy arrays.

    UserError if it is empty, cut short or not a safetensors file. Errors in the block count, too.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    # KeyError and TypeError: a tensor of a type that numpy lacks
    except (OSError, SafetensorError, KeyError, TypeError) as error:
        raise UserError(f"{path}: damaged or cut short, or no weights ({error}); {remedy}")
