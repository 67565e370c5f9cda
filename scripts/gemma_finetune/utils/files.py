"""Files that are whole or not there: every stage writes aside and renames when the content is complete."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gemma_finetune.utils.cli import UserError


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """Yields a path beside `path` to write a file or a folder to; renamed to `path` if the block succeeds.

    On an error what was written is removed and `path` is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _flush(temporary)
        if path.is_dir() and not path.is_symlink():
            if not temporary.is_dir():
                raise UserError(f"{path} is a folder; name a file")
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        _remove(temporary)


def _flush(path: Path) -> None:
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            with open(file, "rb") as handle:
                os.fsync(handle.fileno())


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def require(path: str | Path, stage: str) -> Path:
    """`path`, if it exists. UserError names the stage that makes it."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path} is missing: make it with `dvc repro {stage}` or fetch it with `dvc pull {path}`")
    return path


def write_json(path: str | Path, value) -> None:
    """`value` as indented JSON with sorted keys: the same value gives the same bytes."""
    with aside(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: str | Path):
    """The JSON value in `path`. UserError if it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); run the stage that makes it again")


def write_jsonl(path: str | Path, rows: Iterable) -> int:
    """One JSON value a line; returns the number of rows."""
    count = 0
    with aside(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for row in rows:
            count += 1
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def read_jsonl(path: str | Path) -> Iterator:
    """The rows of a JSONL file. UserError names the line at fault."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError as error:  # broken UTF-8 is one, too
                raise UserError(f"{path}:{number}: not valid JSON ({error}); mend it, or make the file again")


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
