"""Data that DVC tracks and that is not there, or only in part: it is named, and stops the stage.

Otherwise a run would train on the rest without a word.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from gemma_finetune.data.kinds import is_not_data
from gemma_finetune.utils.errors import UserError


class _Out(NamedTuple):
    """What a `.dvc` file tracks."""

    folder: str  # `wdir`, from which `path` goes on
    path: str
    nfiles: int | None  # of a folder
    size: int | None  # bytes
    md5: str


def require_pulled(raw: Path) -> None:
    """UserError if a `.dvc` file tracks data of `raw` that is not there, or only in part."""
    places = {_absolute(raw), raw.resolve()}  # data.raw may be a link
    for dvc_file in _dvc_files(raw):
        for out in _outs(dvc_file):
            tracked = _absolute(dvc_file.parent / out.folder / out.path)
            for place in places:
                if tracked.is_relative_to(place) or place.is_relative_to(tracked):
                    _require_out(dvc_file, out, tracked, place)


def _absolute(path: Path) -> Path:
    """Without `..` and without following links: DVC compares paths as they are written."""
    return Path(os.path.abspath(path))


def _dvc_files(raw: Path) -> list[Path]:
    """The `.dvc` files that may track data of `raw`: any in the repository, and those beside or
    below `raw`, which may lie elsewhere.
    """
    found = {
        folder.with_name(f"{folder.name}.dvc") for folder in (raw, *raw.parents) if folder.name
    }
    if raw.is_dir():
        found.update(raw.rglob("*.dvc"))
    root = repository()
    if root:
        start = Path(os.path.relpath(root))
        for folder, folders, names in os.walk(start):
            folders[:] = [name for name in folders if not _is_no_place(Path(folder, name))]
            found.update(Path(folder, name) for name in names if name.endswith(".dvc"))
    return sorted(path for path in found if path.is_file())


def _is_no_place(folder: Path) -> bool:
    """Whether a person has no data in this folder: it is hidden, or an environment's."""
    return (
        folder.name.startswith(".")
        or folder.name in ("node_modules", "__pycache__")
        or (folder / "pyvenv.cfg").exists()
    )


def _require_out(dvc_file: Path, out: _Out, tracked: Path, raw: Path) -> None:
    path = Path(os.path.relpath(tracked)) if tracked.is_relative_to(Path.cwd()) else tracked
    if not tracked.exists():
        raise UserError(
            f"{path} is missing, but {dvc_file} tracks it: fetch it with "
            f"`dvc pull {dvc_file}`, or remove {dvc_file}"
        )
    if not tracked.is_dir() or out.nfiles is None:
        return

    advice = (
        f"fetch the others with `dvc pull {dvc_file}`, or record their removal with "
        f"`dvc add {path}`"
    )
    listed = _listing(out.md5)
    if listed is None:
        files = [file for file in tracked.rglob("*") if file.is_file()]
        found = sum(not _is_beside(file.relative_to(tracked)) for file in files)
        # Files that are no data may be tracked, too: then all sizes together are right.
        if found < out.nfiles and sum(file.stat().st_size for file in files) != out.size:
            raise UserError(
                f"{path} has {found} of the {out.nfiles} files that {dvc_file} tracks: {advice}"
            )
        return
    missing = [name for name in listed if _is_missing(tracked / name, raw)]
    if missing:
        raise UserError(
            f"{path} lacks {len(missing)} of the {len(listed)} files that {dvc_file} tracks, "
            f"such as {missing[0]}: {advice}"
        )


def _is_missing(file: Path, raw: Path) -> bool:
    """Whether it is data of `raw` that is not there."""
    if not file.is_relative_to(raw) or file.exists():
        return False
    return file == raw or not _is_beside(file.relative_to(raw))


def _is_beside(path: Path) -> bool:
    """Whether a path below data.raw, or a folder in it, is no data."""
    return any(is_not_data(Path(part)) for part in path.parts)


def _listing(md5: str) -> list[str] | None:
    """The files of a folder that DVC tracks, if its cache has the list of them."""
    for cache in _caches():
        for folder in (cache / "files/md5", cache):  # DVC 3, and DVC 2
            try:
                entries = json.loads((folder / md5[:2] / md5[2:]).read_bytes())
                return [str(entry["relpath"]) for entry in entries]
            except (OSError, ValueError, LookupError, TypeError):
                continue
    return None


def _caches() -> Iterator[Path]:
    """Where DVC's cache may be: in its usual place, or where its configuration says."""
    folder = (repository() or Path()) / ".dvc"
    yield folder / "cache"
    try:
        from dvc.config import Config, ConfigError
    except ImportError:  # DVC has an environment of its own
        return
    try:
        configured = Config(str(folder))["cache"].get("dir")
    except ConfigError:
        return
    if configured:
        yield Path(configured)


def _outs(dvc_file: Path) -> list[_Out]:
    """The outs of a `.dvc` file; none if it is another kind of file."""
    try:
        content = yaml.safe_load(dvc_file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{dvc_file}: not a file of DVC ({error}); make it anew with `dvc add`")
    outs = content.get("outs") if isinstance(content, dict) else None
    found = []
    for out in outs if isinstance(outs, list) else []:
        if isinstance(out, dict) and "path" in out and "://" not in str(out["path"]):
            nfiles = out.get("nfiles")
            found.append(
                _Out(
                    folder=str(content.get("wdir") or "."),
                    path=str(out["path"]),
                    nfiles=nfiles if isinstance(nfiles, int) else None,
                    size=out.get("size"),
                    md5=str(out.get("md5", "")),
                )
            )
    return found


def repository() -> Path | None:
    """The root of the DVC repository that this process runs in."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / ".dvc").is_dir():
            return folder
    return None
