"""Opens files whatever they are packed in: gzip, bzip2, xz, Zstandard, and ZIP archives.

The first bytes decide how a file is packed, not its name.
"""

import bz2
import errno
import gzip
import io
import lzma
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from backports import zstd

from gemma_finetune.data.kinds import is_not_data
from gemma_finetune.utils.errors import UserError

BUFFER = 1 << 20
LAYERS = 3  # how often a file may be packed; some are packed twice by accident
# {the first bytes: what opens the file}
_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x28\xb5\x2f\xfd": zstd.open,
}
ZIP = b"PK\x03\x04"
EMPTY_ZIP = b"PK\x05\x06"
DAMAGED = (
    EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zstd.ZstdError, zipfile.BadZipFile,
    struct.error, NotImplementedError,  # the latter: an unknown compression in a ZIP archive
)  # fmt: skip


def is_damage(error: Exception) -> bool:
    """Whether an error says that a packed file is damaged, not that the system refuses a request.

    bz2 and pyarrow raise OSError without a number. A place before the start of a file is EINVAL.
    """
    if isinstance(error, OSError) and not isinstance(error, DAMAGED):
        return error.errno in (None, errno.EINVAL)
    return isinstance(error, DAMAGED)


def unpack(file: Any) -> io.BufferedReader:
    """The unpacked content of an open file."""
    for _ in range(LAYERS):
        head = file.read(8)
        file.seek(0)
        opener = next((open for magic, open in _OPENERS.items() if head.startswith(magic)), None)
        if opener is None:
            break
        file = opener(file)
    return io.BufferedReader(file, BUFFER)


def seekable(stream: io.BufferedReader) -> BinaryIO:
    """The content as a file for random access: a temporary copy if it is packed."""
    if isinstance(stream.raw, io.FileIO):
        return stream
    copy = tempfile.TemporaryFile()
    shutil.copyfileobj(stream, copy, BUFFER)
    copy.seek(0)
    return copy  # type: ignore[return-value]


def is_zip(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) in (ZIP, EMPTY_ZIP)


def list_members(path: Path) -> tuple[list[str], list[str]]:
    """The names of the files in a ZIP archive, sorted: those that hold data, and the others."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if not info.filename.endswith("/")]
    except (*DAMAGED, OSError, ValueError) as error:
        if not is_damage(error) and not isinstance(error, ValueError):
            raise
        raise UserError(f"{path}: a damaged ZIP archive ({error}); fetch the file again")
    names = sorted(info.filename for info in infos)
    if "[Content_Types].xml" in names or "mimetype" in names:
        raise UserError(
            f"{path}: a workbook or a document, not a data file; save its table as CSV (UTF-8)"
        )
    if any(info.flag_bits & 1 for info in infos):
        raise UserError(f"{path}: encrypted; unpack it, and put the files into data.raw")
    data, others = [], []
    for name in names:
        parts = [PurePosixPath(part) for part in PurePosixPath(name).parts]
        (others if any(map(is_not_data, parts)) else data).append(name)
    if doubled := [name for name, after in pairwise(data) if name == after]:
        raise UserError(
            f"{path}: holds two files named {doubled[0]!r}; unpack it, and put the files "
            "into data.raw under different names"
        )
    return data, others
