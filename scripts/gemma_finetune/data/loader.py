"""Which files are read, and their rows: data.raw as a folder, or one file.

`kinds` decides by name what is data, `pulled` and `tracked` find data that is not there or not
watched, `readers` reads.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from gemma_finetune.data import tracked
from gemma_finetune.data.kinds import SUFFIXES, is_not_data, why_unreadable
from gemma_finetune.data.pulled import require_pulled
from gemma_finetune.data.readers import Placed, read_file, read_rows
from gemma_finetune.data.texts import MAX_ROW_BYTES
from gemma_finetune.data.unpack import is_zip, list_members
from gemma_finetune.utils.errors import UserError

__all__ = ["MAX_ROW_BYTES", "Placed", "find_files", "read_files", "read_rows", "survey"]


class Survey(NamedTuple):
    """What data.raw holds."""

    files: list[Path]  # to be read, sorted
    names: list[str]  # the same as rows name them; of a ZIP archive, its members
    not_data: list[str]  # files and folders that are left out by their names


def find_files(raw: str) -> list[Path]:
    """The data files of a folder, sorted, or the one file that `raw` names.

    UserError if there is no file, one of an unknown kind, or data that is not there.
    """
    return survey(raw).files


def survey(raw: str) -> Survey:
    """The data files of a folder and what else is there, or the one file that `raw` names.

    UserError if there is no file, one of an unknown kind, or data that is not there.
    """
    root = Path(raw)
    tracked.require_no_dead_link(root)
    require_pulled(root)
    if not root.exists():
        advice = "; commit its .dvc file, so that every experiment finds it"
        raise UserError(
            f"data.raw: {raw}: no such file or folder" + (advice if tracked.in_experiment() else "")
        )
    if not root.is_dir():
        _require_regular(root)
    files, not_data = ([root], []) if root.is_file() else _walk(root)
    for path in files:
        tracked.require_no_link(path)
        _require_regular(path)
        if problem := why_unreadable(path):
            raise UserError(f"{path}: {problem}")
    if not files:
        found = f" but {', '.join(not_data[:3])}" if not_data else ""
        raise UserError(
            f"data.raw: no data file in {raw}{found}; put {', '.join(SUFFIXES)} files there"
        )
    _require_names(files)
    tracked.require_watched(files)
    tracked.require_out_of_git(root)

    names = []
    for path in files:
        members, others = _members(path)
        names += members
        not_data += others
    return Survey(files, names, sorted(not_data))


def _require_regular(path: Path) -> None:
    """UserError for a pipe, a socket or a device: it cannot be read twice, or never ends."""
    if not path.is_file():
        raise UserError(
            f"{path}: not a regular file, but a pipe, a socket or a device; write its rows into a "
            "file"
        )


def _require_names(files: Iterable[Path]) -> None:
    """UserError for a file whose name is not UTF-8: no message and no row could name it."""
    for path in files:
        if os.fsencode(path) != str(path).encode("utf-8", "replace"):
            raise UserError(f"{str(path)!a}: its name is not UTF-8; rename the file or folder")


def _walk(root: Path) -> tuple[list[Path], list[str]]:
    """The data files below a folder, sorted, and what is no data. UserError for a linked folder."""
    files, not_data = [], []
    for folder, folders, names in os.walk(root):
        for name in folders:
            path = Path(folder, name)
            if is_not_data(path.relative_to(root)):
                not_data.append(f"{path.as_posix()}/")
            else:
                tracked.require_no_link(path)
        folders[:] = [name for name in folders if not is_not_data(Path(name))]
        for name in names:
            path = Path(folder, name)
            if not is_not_data(path.relative_to(root)):
                files.append(path)
            elif path.suffix != ".dvc" and name != ".gitignore":  # DVC's and Git's own
                not_data.append(path.as_posix())
    return sorted(files), not_data


def _members(path: Path) -> tuple[list[str], list[str]]:
    """The names of the files that a path stands for: data, and not data."""
    if not is_zip(path):
        return [path.as_posix()], []
    data, others = list_members(path)
    for name in data:
        problem = why_unreadable(Path(name))
        if problem or name.lower().endswith(".zip"):
            raise UserError(f"{path}/{name}: {problem or 'an archive in an archive; unpack it'}")
    return [f"{path.as_posix()}/{name}" for name in data], [f"{path}/{name}" for name in others]


_SHARD = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\..*)")


def missing_shards(files: Iterable[Path]) -> list[str]:
    """A sentence for each set of numbered files (`train-00000-of-00002.parquet`) with gaps."""
    found = defaultdict(set)
    for path in files:
        if shard := _SHARD.fullmatch(path.name):
            pattern = f"{path.parent.as_posix()}/{shard[1]}-*-of-{shard[3]}{shard[4]}"
            found[pattern, int(shard[3])].add(int(shard[2]))
    return [
        f"only {len(numbers)} of {total} files {pattern} are here"
        for (pattern, total), numbers in found.items()
        if len(numbers) < total
    ]


def read_files(paths: Iterable[Path]) -> Iterator[Placed]:
    """The rows of all files, in order."""
    for path in paths:
        yield from read_file(path)
