"""Opens weights in safetensors format. The one place that decides what a damaged file is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from gemma_finetune.utils.errors import UserError

# Of weights, as safetensors calls them
DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": ml_dtypes.bfloat16}


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


def mapped_tensor(path: str | Path, name: str) -> np.ndarray:
    """A tensor that stays in its file: the system reads what is used, and can take it back.

    UserError as for `open_weights`, and if the file has no such tensor of floating-point numbers.
    """
    with open_weights(path) as file:
        dtype = DTYPES[file.get_slice(name).get_dtype()]
    with open(path, "rb") as file:
        header = file.read(int.from_bytes(file.read(8), "little"))
        tensor = json.loads(header)[name]
        start = file.tell() + tensor["data_offsets"][0]
    return np.asarray(np.memmap(path, dtype, "r", start, tuple(tensor["shape"])))
