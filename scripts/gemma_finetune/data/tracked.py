"""Data that DVC does not watch, or that an experiment would commit to Git: it is named, and stops
the stage. Otherwise a run would not notice when the data changes.
"""

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from pathspec import GitIgnoreSpec

from gemma_finetune.data.pulled import repository
from gemma_finetune.utils.errors import UserError


def require_no_link(path: Path) -> None:
    """UserError if a path is a link to a folder, or to nothing. A link to a file is fine."""
    require_no_dead_link(path)
    if path.is_symlink() and path.is_dir():
        target = path.resolve()
        if target.is_relative_to(Path.cwd()):
            target = target.relative_to(Path.cwd())
        raise UserError(
            f"{path} is a link to a folder ({path.readlink()}), which DVC does not follow: copy "
            f"the folder into its place, or name {target} in data.raw"
        )


def require_no_dead_link(path: Path) -> None:
    """UserError if a path is a link to nothing."""
    if path.is_symlink() and not path.exists():
        target = path.readlink()
        raise UserError(
            f"{path} is a link to {target}, which does not exist: fetch the data (`dvc pull` or "
            "`dvc checkout` for data that DVC tracks), or remove the link"
        )


def require_watched(files: Iterable[Path]) -> None:
    """UserError if a file is excluded by `.dvcignore`: DVC would not notice when it changes."""
    root = repository()
    if root is None:
        return
    specs: dict[Path, GitIgnoreSpec | None] = {}
    for file in files:
        path = file.absolute()
        if not path.is_relative_to(root):
            continue
        ignored = False
        for folder in reversed([path for path in path.parents if path.is_relative_to(root)]):
            if folder not in specs:
                specs[folder] = _read_spec(folder / ".dvcignore")
            spec = specs[folder]
            # The patterns of an inner folder come later, and the last pattern decides.
            include = spec.check_file(path.relative_to(folder)).include if spec else None
            ignored = ignored if include is None else include
        if ignored:
            raise UserError(
                f"{file} is excluded by .dvcignore, so DVC does not notice when it changes: "
                "change .dvcignore, or move the file out of data.raw"
            )


def require_out_of_git(raw: Path) -> None:
    """UserError if `dvc exp run` is about to commit rows to Git.

    It commits what its stages read and what neither DVC tracks nor Git knows. It does so after this
    stage, so stopping here is in time.
    """
    if not in_experiment():
        return
    untracked = _git_files(raw, "--others", "--exclude-standard")
    if untracked:
        path = Path(untracked[0]) if _git_files(raw) else raw
        raise UserError(
            f"{path} is tracked neither by DVC nor by Git, and `dvc exp run` would commit its rows "
            f"to Git: run `dvc add {path}` and commit {path}.dvc and {path.parent / '.gitignore'}"
        )


def in_experiment() -> bool:
    """Whether `dvc exp run` has started this process."""
    return "DVC_EXP_BASELINE_REV" in os.environ


def _git_files(path: Path, *options: str) -> list[str]:
    """The files below a path that Git tracks, or those that `options` choose."""
    command = ["git", "ls-files", "-z", *options, "--", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.split("\0")[:-1]  # nothing outside the repository, which is an error


def _read_spec(path: Path) -> GitIgnoreSpec | None:
    if not path.is_file():
        return None
    return GitIgnoreSpec.from_lines(path.read_text(encoding="utf-8", errors="replace").splitlines())
