"""Arrays from an npz file that may be damaged or hostile: no pickle, no more memory than the file
is long.
"""

import zipfile
from pathlib import Path

import numpy as np


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The arrays that `np.savez` wrote, by name. ValueError says what is wrong; FileNotFoundError:
    there is no file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            _refuse_bombs(archive.infolist(), Path(path).stat().st_size)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise
    except Exception as error:  # the readers raise whatever a damaged file makes them stumble over
        raise ValueError(f"not a readable npz file ({type(error).__name__}: {str(error)[:200]})")


def _refuse_bombs(entries, size):
    """np.savez compresses nothing, so what is inside is shorter than the file."""
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise ValueError("an entry is compressed")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("its entries are longer than the file")
