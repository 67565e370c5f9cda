"""A queued experiment runs the code as it was when queued, whatever the working tree has become
since.
"""

import shutil

from clones import git, run


def test_a_queued_experiment_runs_the_code_as_queued(stand_ins, tmp_path):
    clone = shutil.copytree(stand_ins, tmp_path / "clone")
    for key, value in {"user.name": "test", "user.email": "test@example.org"}.items():
        git(clone, "config", key, value)
    run(clone, *"dvc exp run --queue --name as-queued -S check.max_logit_diff=0.002 check".split())
    for changed in ("scripts/check.py", "scripts/gemma_finetune/evaluation/gate.py"):
        (clone / changed).write_text("raise SystemExit('the code as it is now')\n")
    output = run(clone, "dvc", "exp", "run", "--run-all")
    assert "threshold 0.002" in output and "the code as it is now" not in output
    assert "Success" in run(clone, "dvc", "queue", "status")
