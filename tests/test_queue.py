"""Queued experiments: the code as queued, and a grid whose weak point keeps its figures."""

import csv
import io
import shutil

import pytest

from clones import git, run

pytestmark = pytest.mark.slow


@pytest.fixture
def clone(stand_ins, tmp_path):
    clone = shutil.copytree(stand_ins, tmp_path / "clone")
    for key, value in {"user.name": "test", "user.email": "test@example.org"}.items():
        git(clone, "config", key, value)
    return clone


def test_a_queued_experiment_runs_the_code_as_queued(clone):
    run(clone, *"dvc exp run --queue --name as-queued -S check.max_logit_diff=0.002 check".split())
    for changed in ("scripts/check.py", "scripts/gemma_finetune/reporting/gate.py"):
        (clone / changed).write_text("raise SystemExit('the code as it is now')\n")
    output = run(clone, "dvc", "exp", "run", "--run-all")
    assert "threshold 0.002" in output and "the code as it is now" not in output
    assert "Success" in run(clone, "dvc", "queue", "status")


def test_a_grid_keeps_a_point_that_fails_the_gate_with_its_figures(clone):
    """A failed stage would lose the experiment: DVC saves nothing of it."""
    run(clone, *"dvc exp run --queue -S check.min_score.exact=0.5,0.99 check".split())
    run(clone, "dvc", "exp", "run", "--run-all")
    rows = list(csv.DictReader(io.StringIO(run(clone, "dvc", "exp", "show", "--csv"))))
    points = {row["check.min_score.exact"]: row for row in rows if row["Experiment"]}
    assert {name: row["gate"] for name, row in points.items()} == {"0.5": "pass", "0.99": "fail"}
    assert all(float(row["exact_match.int8"]) > 0 for row in points.values())

    run(clone, "dvc", "exp", "apply", points["0.99"]["Experiment"])
    output = run(clone, "python", "scripts/gate.py", ok=False)
    assert "the export chain breaks at hop train" in output and "threshold 0.99" in output
