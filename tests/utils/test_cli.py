import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = ("validate", "train", "check", "make_sample")


def call(*arguments, cwd):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("stage", STAGES)
def test_help_tells_what_a_script_does_and_does_nothing(stage, tmp_path):
    done = call(ROOT / f"scripts/{stage}.py", "--help", cwd=tmp_path)
    assert done.returncode == 0 and f"python scripts/{stage}.py" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", [("validate.py", "data/raw"), ("quantize.py",), ("bundle.py", "int8", "int4")])
def test_arguments_that_a_script_does_not_take_are_refused(arguments, tmp_path):
    done = call(ROOT / "scripts" / arguments[0], *arguments[1:], cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {arguments[0]} takes ")
    assert not list(tmp_path.iterdir())
