"""Files that are whole or not there: every stage writes aside and renames when the content is
complete.
"""

import fcntl
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gemma_finetune.utils.cli import UserError


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """Yields a path to write a file or a folder to, which takes the place of `path` if the block
    succeeds.

    Until then, and on an error, `path` is as it was. A crash or a power cut leaves the old content,
    the new, or (of a folder) nothing: never a part. The yielded path has the name of `path`; its
    folder is a `workspace`.
    """
    path = Path(path)
    with workspace(path) as folder:
        temporary = folder / path.name
        yield temporary
        _sync(*temporary.rglob("*"), temporary)
        _put(temporary, path)
        _sync(path.parent)


@contextmanager
def workspace(path: str | Path) -> Iterator[Path]:
    """An empty folder beside `path`, for what is made on the way there; gone in the end, and with
    it what earlier processes left that were killed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_left_behind(path)
    folder = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(
        folder, ignore_errors=True
    )  # of an earlier process of this id, on a file system without locks
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def remove_left_behind(path: Path) -> None:
    """Removes the workspaces of `path` that ended processes left."""
    for folder in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):  # another process has just removed it
            descriptor = os.open(folder, os.O_RDONLY)
            if _lock(descriptor):
                shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def _lock(descriptor):
    """Takes the lock of an open folder; False if a process has it, or the file system has no locks.

    The system gives it back when the process ends, however it ends. A process id would mislead: in
    containers ids come again, and the dead stay listed where the first process reaps none.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _sync(*paths):
    """Has the disk hold files, and of folders which names they have."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _put(new, path):
    if path.exists() and not path.is_symlink():
        if path.is_dir() != new.is_dir():
            raise UserError(
                f"{path} is a {'folder; name a file' if path.is_dir() else 'file; name a folder'}"
            )
        if path.is_dir():
            os.replace(path, new.with_name(f"{path.name}.old"))  # goes with the workspace
    os.replace(new, path)


def require(path: str | Path, stage: str) -> Path:
    """`path`, if it exists. UserError names the stage that makes it."""
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"{path} is missing: make it with `dvc repro {stage}` or fetch it with `dvc pull {path}`"
        )
    return path


@contextmanager
def made_by(stage: str, *paths: str | Path) -> Iterator[None]:
    """For a block that reads what a stage of ours wrote. UserError where that is not what the stage
    writes.
    """
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        named = ", ".join(map(str, paths))
        raise UserError(
            f"{named}: not what the stage `{stage}` writes ({type(error).__name__}: {error}); damaged, or another "
            f"file's content: `dvc repro {stage}` makes it again"
        )


def write_json(path: str | Path, value) -> None:
    """`value` as indented JSON with sorted keys: the same value gives the same bytes."""
    with aside(path) as temporary:
        temporary.write_text(
            json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8"
        )


def read_json(path: str | Path):
    """The JSON value in `path`. UserError if it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
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
            except (ValueError, RecursionError) as error:  # broken UTF-8 is a ValueError, too
                raise UserError(
                    f"{path}:{number}: not valid JSON ({error}); mend it, or make the file again"
                )


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
