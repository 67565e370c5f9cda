"""The reference that every fault is held against, and a table of what happened at the end of the run."""

import os
from pathlib import Path

import pytest

from faults import dag

ROWS = []


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Path:
    """A clone in which all stages have run. Read only. FAULTS_REFERENCE names a folder to keep it in between runs."""
    kept = os.environ.get("FAULTS_REFERENCE")
    clone = Path(kept) if kept else tmp_path_factory.mktemp("reference") / "clone"
    return clone if (clone / "seconds.json").exists() else dag.build_reference(clone)


@pytest.fixture
def observed():
    """Adds a row to the table: fault, stage, what happened."""
    return lambda *cells: ROWS.append(cells)


def pytest_terminal_summary(terminalreporter):
    for row in ROWS:
        terminalreporter.write_line("| " + " | ".join(map(str, row)) + " |")
