import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STAGES = ("validate", "train", "check", "make_sample")


def call(*arguments, cwd):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize("stage", STAGES)
def test_help_tells_what_a_script_does_and_does_nothing(stage, tmp_path):
    done = call(ROOT / f"scripts/{stage}.py", "--help", cwd=tmp_path)
    assert done.returncode == 0 and f"python scripts/{stage}.py" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [("validate.py", "data/raw"), ("quantize.py",), ("bundle.py", "int8", "int4")]
)
def test_arguments_that_a_script_does_not_take_are_refused(arguments, tmp_path):
    done = call(ROOT / "scripts" / arguments[0], *arguments[1:], cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith(f"error: {arguments[0]} takes ")
    assert not list(tmp_path.iterdir())


def interrupted_in(script, module, source, folder):
    """(exit status, standard error) of a script that gets Ctrl-C in `source`, which stands in for a
    library.
    """
    folder.joinpath(f"{module}.py").write_text(source)
    command = [sys.executable, str(ROOT / f"scripts/{script}.py")]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(
        command, cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)}, **pipes
    ) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        return process.wait(timeout=600), process.stderr.read()


@pytest.mark.parametrize("script", ["validate", "format", "train", "evaluate", "chat"])
def test_ctrl_c_while_libraries_load_ends_without_a_word(script, tmp_path):
    source = "import time\nprint('here', flush=True)\ntime.sleep(60)\n"
    assert interrupted_in(script, "pydantic", source, tmp_path) == (-signal.SIGINT, "")


def test_ctrl_c_while_a_script_runs_is_one_word(tmp_path):
    tmp_path.joinpath("params.yaml").touch()
    source = "import time\nYAMLError, SafeLoader = ValueError, object\n"
    source += "def load(file, loader):\n    print('here', flush=True)\n    time.sleep(60)\n"
    assert interrupted_in("validate", "yaml", source, tmp_path) == (130, "interrupted\n")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        ("OSError(28, 'No space left on device')", "error: the disk is full: free some of it"),
        ("OSError(27, 'File too large')", "error: the disk is full"),
        (
            "PermissionError(13, 'Permission denied', 'models')",
            "error: not permitted: see whose file it is",
        ),
        (
            "MemoryError('Unable to allocate 9 GiB')",
            "error: not enough memory: close other programs",
        ),
        ("ValueError('a bug')", "Traceback"),
    ],
)
def test_what_the_machine_lacks_is_one_plain_line_wherever_it_is_noticed(tmp_path, error, says):
    """Also while a library loads, before `run`. Anything else keeps its traceback."""
    tmp_path.joinpath("pydantic.py").write_text(f"raise {error}")
    command = [sys.executable, str(ROOT / "scripts/validate.py")]
    path = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        command, cwd=tmp_path, env=path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 1 and done.stderr.startswith(says)


@pytest.mark.parametrize("script", ["train", "tflite", "validate"])
def test_too_few_addresses_are_refused_before_a_library_can_crash(tmp_path, script):
    limit = 3 << 30
    command = [sys.executable, str(ROOT / f"scripts/{script}.py"), "--help"]
    limited = {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))}
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, **limited, timeout=600
    )
    if script == "validate":
        assert done.returncode == 0
    else:
        assert done.returncode == 1
        assert done.stderr.startswith(
            "error: this process may map 3.0 GB of addresses (ulimit -v) and its libraries"
        )
