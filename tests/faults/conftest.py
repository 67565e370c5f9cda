"""The reference that every fault is held against, and a table of what happened."""

import os
from pathlib import Path

import pytest

from faults import dag


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Path:
    """A clone in which all stages have run. Read only. FAULTS_REFERENCE names a folder to keep it
    in between runs.
    """
    kept = os.environ.get("FAULTS_REFERENCE")
    clone = Path(kept) if kept else tmp_path_factory.mktemp("reference") / "clone"
    return clone if (clone / "seconds.json").exists() else dag.build_reference(clone)


@pytest.fixture
def observed(capsys):
    """Shows a row of the table at once: fault, stage, what happened."""

    def show(*cells):
        with capsys.disabled():
            print(f"\n| {' | '.join(map(str, cells))} |", end=" ", flush=True)

    return show
