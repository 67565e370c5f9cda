"""Fetches packages from npm, exactly those of a lock file.

The lock file has the SHA-512 of every package, and npm refuses one that differs. It names no
registry, so that npm asks the one that it is configured for.
"""

import shutil
import subprocess
from pathlib import Path

from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside

_LOCK = "package-lock.json"
_COMMAND = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


def install(source: Path, folder: Path, seconds: int = 300) -> Path:
    """Installs what `source` locks into `folder`, unless it is there. Returns its node_modules.

    source: a folder with package.json and package-lock.json. UserError if npm is missing, fails or
    takes longer than `seconds`.
    """
    modules = folder / "node_modules"
    if modules.is_dir() and (folder / _LOCK).read_bytes() == (source / _LOCK).read_bytes():
        return modules
    npm = shutil.which("npm")
    if npm is None:
        raise UserError(
            "npm is missing, which fetches the web runtime: install Node.js 18 or later (on Debian "
            "and Ubuntu `apt-get install npm`), then run this again"
        )
    with aside(folder) as temporary:
        temporary.mkdir()
        for name in ("package.json", _LOCK):
            shutil.copyfile(source / name, temporary / name)
        _run(npm, temporary, seconds)
    return modules


def _run(npm: str, folder: Path, seconds: int) -> None:
    try:
        done = subprocess.run(
            [npm, *_COMMAND], cwd=folder, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise UserError(
            f"npm did not fetch the web runtime in {seconds} s: check the network, then run again"
        )
    if done.returncode:
        lines = [line.removeprefix("npm error ") for line in done.stderr.splitlines()]
        reason = " ".join(lines[:3])
        raise UserError(
            f"npm could not fetch the web runtime ({reason}): check the network and npm's "
            "registry, then run this again"
        )
