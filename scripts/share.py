"""Pushes what has been run here, so that any machine can restore it instead of running it again.

`dvc push --run-cache` leaves out the figures in metrics/, because Git keeps them. But another
machine restores a run only if it finds all of its outputs, so it would train again. This script
pushes the figures as well. It serves a run that was stopped, too: the stages that ended are pushed.

    python scripts/share.py
"""

from typing import Any

from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError


def main() -> None:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            pushed = repo.push(run_cache=True) + push_figures(repo)
    except DvcException as error:
        raise UserError(f"dvc push: {error}; `dvc remote list` shows where to")
    print(f"{pushed} files pushed")


def push_figures(repo: Any) -> int:
    """Pushes the outputs that DVC has a copy of but leaves to Git. Returns how many were new."""
    outs = [out for stage in repo.index.stages for out in stage.outs if not out.use_cache]
    digests = {out.hash_info for out in outs if out.hash_info}
    in_cache = {digest for digest in digests if repo.cache.local.exists(digest.value)}
    return len(repo.cloud.push(in_cache).transferred)


if __name__ == "__main__":
    run(main)
