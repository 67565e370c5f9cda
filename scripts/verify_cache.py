"""Finds files in DVC's cache that a disk has damaged, and removes them if asked to.

DVC trusts a file in its cache by its name, the MD5 of what is in it. This script hashes each file
again, which reads the whole cache. It ends with 1 if it found damaged files and left them.

    python scripts/verify_cache.py [--remove]
"""

import argparse
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import yaml
from tqdm import tqdm

from gemma_finetune.utils.cli import UserError, run
from gemma_finetune.utils.files import read_json

LOCK = Path("dvc.lock")
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
    damaged = find_damaged(files)
    if not damaged:
        print(f"{len(files)} files in {cache}: each is what its name says")
        return

    names = outputs(cache)
    for path in damaged:
        print(f"damaged: {path}: {names.get(digest_in_name(path), UNKNOWN)}")
    found = f"{len(damaged)} of {len(files)} files in {cache} are damaged"
    if not remove:
        raise UserError(f"{found}: remove them with `make verify REMOVE=yes`")
    for path in damaged:
        path.unlink()
    print(f"{found}, and now removed. Next: {NEXT}")


def cache_folder() -> Path:
    """The folder of the cache that this repository uses, where DVC is told of another one, too."""
    from dvc.repo import Repo

    with Repo() as repo:
        return Path(repo.cache.local.path)


def entries(cache: Path) -> list[Path]:
    """The files of a cache, sorted. A file half written has another name and is not among them."""
    return sorted(path for path in cache.glob("??/*") if len(path.stem) == 30)


def digest_in_name(path: Path) -> str:
    """ab/cdef… -> abcdef…, the MD5 that the content should have (without a folder's .dir)."""
    return path.parent.name + path.stem


def find_damaged(files: list[Path]) -> list[Path]:
    """Those whose content is not what the name says, or cannot be read."""
    damaged = []
    total = sum(path.stat().st_size for path in files)
    with tqdm(total=total, unit="B", unit_scale=True, desc="hashing", leave=False) as bar:
        for path in files:
            if _md5(path) != digest_in_name(path):
                damaged.append(path)
            bar.update(path.stat().st_size)
    return damaged


def _md5(path: Path) -> str | None:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "md5").hexdigest()
    except OSError:  # a sector of the disk that cannot be read
        return None


def outputs(cache: Path) -> dict[str, str]:
    """{MD5: path} of the files that stages made, and of those that `dvc add` tracks."""
    names = {}
    for digest, path in _made_by_stages():
        names |= _with_files(cache, digest, path)
    for digest, path in _added():
        names |= {
            digest: f"{name}, {ADDED}" for digest, name in _with_files(cache, digest, path).items()
        }
    return names


def _made_by_stages() -> Iterator[tuple[str, str]]:
    """(MD5, path) of each output in dvc.lock."""
    stages = yaml.safe_load(LOCK.read_text())["stages"] if LOCK.exists() else {}
    for stage in stages.values():
        for out in stage.get("outs", []):
            yield out["md5"], out["path"]


def _added() -> Iterator[tuple[str, str]]:
    """(MD5, path) of each file and folder that a .dvc file names."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            outs = [
                out for stage in repo.index.stages if stage.is_data_source for out in stage.outs
            ]
    except DvcException as error:
        raise UserError(f"DVC cannot read the repository: {error}")
    for out in outs:
        if out.hash_info:
            yield out.hash_info.value, os.path.relpath(out.fs_path)


def _with_files(cache: Path, md5: str, path: str) -> dict[str, str]:
    """{MD5: path} of an output and, if it is a folder, of the files in it."""
    digest = md5.removesuffix(".dir")
    names = {digest: path}
    listing = cache / digest[:2] / f"{digest[2:]}.dir"
    if listing.exists() and _md5(listing) == digest:
        for file in read_json(listing):
            names[file["md5"]] = f"{path}/{file['relpath']}"
    return names


if __name__ == "__main__":
    run(main, arguments=None)
