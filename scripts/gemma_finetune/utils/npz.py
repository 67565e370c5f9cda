"""Writes npz files that are the same on every Python; reads those that may be damaged or hostile.

Nothing is unpickled, and reading takes no more memory than the file is long.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np


def write_arrays(file: str | Path | BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as `np.savez` does, but for the zip headers: those of `np.savez` differ between
    Python 3.11.2 and 3.11.7.
    """
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getbuffer())


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays that `write_arrays` or `np.savez` wrote, by name.

    ValueError says what is wrong with the file; FileNotFoundError if it does not exist.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bombs(archive.infolist(), Path(path).stat().st_size)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file makes the readers raise all kinds of errors
        raise ValueError(f"not a readable npz file ({type(error).__name__}: {str(error)[:200]})")


def _refuse_bombs(entries: list[zipfile.ZipInfo], size: int) -> None:
    """ValueError for compressed entries: we write none, and they unpack to any size."""
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("an entry is compressed")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("its entries are longer than the file")
