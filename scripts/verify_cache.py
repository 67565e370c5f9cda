"""Finds files in DVC's cache that a disk has damaged, and removes them if asked to.

DVC trusts a file in its cache by its name, the MD5 of what is in it. This script hashes each file
again, which reads the whole cache. It ends with 1 if it found damaged files and left them, or files
that may not be read.

    python scripts/verify_cache.py [--remove]
"""

import argparse
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import read_json

ADDED = "tracked by `dvc add`: `dvc repro` does not make it again, `dvc pull` brings it back"
UNKNOWN = "neither in dvc.lock nor tracked by `dvc add` here"
NEXT = """\
`dvc repro` runs their stages again. Or `dvc pull`, and then `dvc checkout --relink`, which replaces
what was handed out before. What other stages made of a damaged file, `dvc repro -f STAGE` makes
again."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--remove", action="store_true", help="remove the damaged files")
    remove = parser.parse_args().remove

    cache = cache_folder()
    files = entries(cache)
    if not files:
        print(f"{cache} is empty: `dvc pull` or `dvc repro` fills it")
        return
    tracked = outputs(cache)  # first: a file that DVC cannot read ends it at once
    damaged, refused = find_damaged(files)
    if not damaged and not refused:
        print(f"{len(files)} files in {cache}: each is what its name says")
        return

    for path in refused:
        print(f"may not be read: {path}")
    name_damaged(damaged, *tracked)
    problems = []
    found = f"{len(damaged)} of {len(files)} files in {cache} are damaged"
    if damaged and remove:
        for path in damaged:
            path.unlink()
        print(f"{found}, and now removed. Next: {NEXT}")
    elif damaged:
        problems.append(f"{found}: remove them with `make verify REMOVE=yes`")
    if refused:
        problems.append(
            f"{len(refused)} of {len(files)} files in {cache} may not be read: check who owns "
            "them, or run this as their owner"
        )
    if problems:
        raise UserError("; ".join(problems))


def name_damaged(damaged: list[Path], names: dict[str, str], unlisted: list[str]) -> None:
    """Prints each damaged file with what it holds. names, unlisted: from `outputs`."""
    for path in damaged:
        print(f"damaged: {path}: {names.get(digest_in_name(path), UNKNOWN)}")
    if unlisted and any(digest_in_name(path) not in names for path in damaged):
        print(
            f"{UNKNOWN}: perhaps files of {', '.join(unlisted)}, whose list of files is damaged, "
            "another person's or not in the cache; `dvc pull` brings them back"
        )


def cache_folder() -> Path:
    """The folder of the cache that this repository uses, where DVC is told of another one, too."""
    with opened_repo() as repo:
        return Path(repo.cache.local.path)


@contextmanager
def opened_repo() -> Iterator[Any]:
    """DVC's view of the repository. UserError if there is none or one of its files is broken."""
    from dvc.exceptions import DvcException, NotDvcRepoError
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            yield repo
    except NotDvcRepoError:
        raise UserError(f"{Path.cwd()} is not in a DVC repository: run this where dvc.yaml is")
    except DvcException as error:
        raise UserError(
            f"DVC cannot read the repository: {error}; mend that file, or bring back the committed "
            "one with `git checkout`"
        )


def entries(cache: Path) -> list[Path]:
    """The files of a cache, sorted. A file half written has another name and is not among them."""
    found = (path for path in cache.glob("??/*") if len(path.stem) == 30)
    return sorted(path for path in found if not path.is_dir())


def digest_in_name(path: Path) -> str:
    """ab/cdef… -> abcdef…, the MD5 that the content should have (without a folder's .dir)."""
    return path.parent.name + path.stem


def find_damaged(files: list[Path]) -> tuple[list[Path], list[Path]]:
    """Those whose content is not what the name says, or that the disk cannot read; and those that
    this person may not read: another's, in a cache that is shared, which may be sound.
    """
    damaged, refused = [], []
    total = sum(path.stat().st_size for path in files)
    with tqdm(total=total, unit="B", unit_scale=True, desc="hashing", leave=False) as bar:
        for path in files:
            try:
                if _md5(path) != digest_in_name(path):
                    damaged.append(path)
            except PermissionError:
                refused.append(path)
            bar.update(path.stat().st_size)
    return damaged, refused


def _md5(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except PermissionError:  # an OSError, but not the disk's fault
        raise
    except OSError:  # a sector of the disk that cannot be read
        return None


def outputs(cache: Path) -> tuple[dict[str, str], list[str]]:
    """What the files of a cache are: those that stages made, and those that `dvc add` tracks.

    Returns {MD5: path}, and the folders whose list of files is damaged, another person's or not
    in the cache.
    """
    names, unlisted = {}, []
    for digest, path, added in _tracked():
        remark = f", {ADDED}" if added else ""
        names[digest.removesuffix(".dir")] = path + remark
        if digest.endswith(".dir"):
            files = _listed(cache, digest)
            if files is None:
                unlisted.append(path)
            for file in files or []:
                names[file["md5"]] = f"{path}/{file['relpath']}{remark}"
    return names, unlisted


def _tracked() -> list[tuple[str, str, bool]]:
    """(MD5, path, whether `dvc add` tracks it) of each output that has an MD5."""
    with opened_repo() as repo:
        return [
            (out.hash_info.value, os.path.relpath(out.fs_path), stage.is_data_source)
            for stage in repo.index.stages
            for out in stage.outs
            if out.hash_info
        ]


def _listed(cache: Path, digest: str) -> list[dict[str, str]] | None:
    """The files of a folder, {md5, relpath}. None if its list is damaged, not there, or another
    person's.
    """
    listing = cache / digest[:2] / digest[2:]
    try:
        if not listing.exists() or f"{_md5(listing)}.dir" != digest:
            return None
    except PermissionError:
        return None
    return read_json(listing)


if __name__ == "__main__":
    run(main, arguments=None)
