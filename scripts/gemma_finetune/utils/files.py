"""Files that are complete or absent: stages write to a temporary path and rename at the end."""

import fcntl
import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gemma_finetune.utils.errors import UserError


@contextmanager
def aside(path: str | Path) -> Iterator[Path]:
    """Yields a temporary path for a file or a folder, which replaces `path` if the block succeeds.

    Until then, and after an error, `path` is unchanged. A crash or a power cut leaves the old
    content, the new content or (of a folder) nothing, but never a part. The temporary path has the
    same name as `path`, and lies in a `workspace`.
    """
    path = Path(path)
    with workspace(path) as folder:
        temporary = folder / path.name
        yield temporary
        _sync(*temporary.rglob("*"), temporary)
        _replace(path, temporary)
        _sync(path.parent)


@contextmanager
def workspace(path: str | Path) -> Iterator[Path]:
    """A temporary folder next to `path`.

    Removed on exit, together with temporary folders left behind by killed processes.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        file = next(above for above in path.parents if os.path.lexists(above))
        raise UserError(f"{path}: {file} is a file, not a folder")
    remove_left_behind(path)
    made = tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    folder = Path(made).with_suffix(".tmp")
    descriptor = os.open(made, os.O_RDONLY)
    try:
        _lock(descriptor)
        os.rename(made, folder)  # only now others see it: unlocked, they would remove it
        yield folder
    finally:
        os.close(descriptor)
        for path in (made, folder):
            shutil.rmtree(path, ignore_errors=True)


def remove_left_behind(path: Path) -> None:
    """Removes the workspaces of `path` whose processes have ended."""
    for folder in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with suppress(OSError):  # another process has just removed it
            descriptor = os.open(folder, os.O_RDONLY)
            if _lock(descriptor):
                shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def _lock(descriptor: int) -> bool:
    """Locks an open folder. False if another process holds the lock, or there are no locks.

    The system releases the lock when the process ends, however it ends. A process id would not do:
    containers reuse ids, and ended processes stay listed if the first process does not reap them.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except OSError:
        return False


def _sync(*paths: Path) -> None:
    """Waits until files, and the lists of names of folders, are on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _replace(path: Path, new: Path) -> None:
    """Renames `new` to `path`. UserError if one is a file and the other a folder."""
    if path.exists() and not path.is_symlink():
        if path.is_dir() != new.is_dir():
            kinds = "folder; name a file" if path.is_dir() else "file; name a folder"
            raise UserError(f"{path} is a {kinds}")
        if path.is_dir():
            os.replace(path, new.with_name(f"{path.name}.old"))  # removed with the workspace
    os.replace(new, path)


def require(path: str | Path, stage: str) -> Path:
    """`path`, if it exists. UserError names the stage that makes it."""
    path = Path(path)
    if not path.exists():
        raise UserError(
            f"{path} is missing: make it with `dvc repro {stage}` or fetch it with "
            f"`dvc pull {path}`"
        )
    return path


@contextmanager
def made_by(stage: str, *paths: str | Path) -> Iterator[None]:
    """For a block that reads files which a stage has written.

    UserError names the files and the stage if their content is not what the block expects.
    """
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        names = ", ".join(map(str, paths))
        raise UserError(
            f"{names}: not what the stage `{stage}` writes ({type(error).__name__}: {error}); "
            f"damaged, or another file's content: `dvc repro {stage}` makes it again"
        )


def write_json(path: str | Path, value: Any) -> None:
    """Writes indented JSON with sorted keys: the same value always gives the same bytes."""
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    with aside(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: str | Path, remedy: str = "run the stage that makes it again") -> Any:
    """The JSON value in `path`. UserError if it is not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not valid JSON ({error}); {remedy}")


def write_jsonl(path: str | Path, rows: Iterable) -> int:
    """Writes one JSON value a line. Returns the number of rows."""
    count = 0
    with aside(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for row in rows:
            count += 1
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return count


def read_jsonl(path: str | Path) -> Iterator[Any]:
    """The rows of a JSONL file. UserError names the line that is wrong."""
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            yield parse_json_line(f"{path}:{number}", line)


def parse_json_line(place: str, line: bytes) -> Any:
    """The value of one line of a JSONL file. UserError names its place if it is wrong."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:  # invalid UTF-8 is a ValueError, too
        raise UserError(f"{place}: not valid JSON ({error}); mend it, or make the file again")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
