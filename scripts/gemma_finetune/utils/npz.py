"""Reads npz files that may be damaged or hostile.

Nothing is unpickled, and reading takes no more memory than the file is long.
"""

import zipfile
from pathlib import Path

import numpy as np


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays that `np.savez` wrote, by name.

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
    """ValueError for compressed entries: np.savez writes none, and they unpack to any size."""
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("an entry is compressed")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("its entries are longer than the file")
