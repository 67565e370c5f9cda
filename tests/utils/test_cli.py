import os
import signal
import subprocess
import sys

import pytest

from gemma_finetune.utils.cli import run
from gemma_finetune.utils.errors import UserError
from imports import SCRIPTS

STAGES = ("validate", "train", "check", "make_sample")


def call(*arguments, cwd):
    return subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=600
    )


@pytest.mark.parametrize("stage", STAGES)
def test_help_tells_what_a_script_does_and_does_nothing(stage, tmp_path):
    done = call(SCRIPTS / f"{stage}.py", "--help", cwd=tmp_path)
    assert done.returncode == 0 and f"python scripts/{stage}.py" in done.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments", [("validate.py", "data/raw"), ("quantize.py",), ("bundle.py", "int8", "int4")]
)
def test_arguments_that_a_script_does_not_take_are_refused(arguments, tmp_path):
    done = call(SCRIPTS / arguments[0], *arguments[1:], cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"error: {arguments[0]}: expected arguments: ")
    assert not list(tmp_path.iterdir())


def test_ctrl_c_while_a_script_runs_is_one_word(tmp_path):
    """A yaml that waits stands in for a library in which a stage spends its time."""
    tmp_path.joinpath("params.yaml").touch()
    tmp_path.joinpath("yaml.py").write_text(
        "import time\n"
        "YAMLError = ValueError\n"
        "def safe_load(file):\n"
        "    print('here', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, str(SCRIPTS / "validate.py")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(signal.SIGINT)
        assert (process.wait(timeout=600), process.stderr.read()) == (130, "interrupted\n")


def ends(error):
    """How a script ends whose main raises `error`: its exit status, or the message for 1."""

    def main():
        raise error

    with pytest.raises(SystemExit) as stop:
        run(main, arguments=None)
    return stop.value.code


def test_a_users_mistake_is_one_line_and_a_non_zero_exit():
    # Python prints a text that is the exit's code, and exits with 1.
    message = "params.yaml: lora.rank: too small"
    assert ends(UserError(message)) == f"error: {message}"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(28, "No space left on device"), "the disk is full: free some space"),
        (OSError(27, "File too large"), "the disk is full"),
        (OSError(30, "Read-only file system", "models"), "the disk is read-only"),
        (PermissionError(13, "Permission denied", "models"), "not permitted: check who owns"),
        (MemoryError("Unable to allocate 9 GiB"), "not enough memory: close other programs"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating"), "not enough memory"),
    ],
)
def test_what_the_machine_lacks_is_one_plain_line(error, says):
    message = ends(error)
    assert message.startswith(f"error: {says}") and "\n" not in message
    assert "nothing was left half-written" in message and str(error.args[-1])[:9] in message


def test_ctrl_c_ends_with_130(capsys):
    assert ends(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_bug_keeps_its_traceback():
    def main():
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        run(main, arguments=None)


def test_a_script_that_succeeds_returns():
    calls = []
    run(lambda: calls.append(1), arguments=None)
    assert calls == [1]


def test_an_import_installs_no_handler_and_no_hook():
    code = """
import signal, sys
handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
hooks = sys.excepthook, sys.unraisablehook
import gemma_finetune.config, gemma_finetune.utils.cli, gemma_finetune.utils.files
assert {number: signal.getsignal(number) for number in signal.valid_signals()} == handlers
assert (sys.excepthook, sys.unraisablehook) == hooks
"""
    done = call("-c", code, cwd=SCRIPTS)
    assert (done.returncode, done.stderr) == (0, "")
