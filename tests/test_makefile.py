"""The Makefile's own logic; what its targets run has tests of its own."""

import os
import re
import shutil
import subprocess
import sys
from collections import namedtuple
from unittest import mock

import pytest

from imports import ROOT

Version = namedtuple("Version", "major minor micro")


def make(*arguments, cwd=ROOT, message=None):
    """What make prints. message: what it must fail with, if it must."""
    command = ["make", "--no-print-directory", *arguments]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    done = subprocess.run(command, cwd=cwd, env=outside, capture_output=True, text=True, timeout=60)
    if message is None:
        assert done.returncode == 0, done.stderr
    else:
        assert done.returncode != 0 and message in done.stderr
    return done.stdout


def planned(*settings, target=".venv/installed"):
    """What an installation would run."""
    return make("--dry-run", "--what-if", "requirements.lock", target, *settings)


def installed_by(target):
    """The lock files that a target installs where there is no .venv yet."""
    return re.findall(r"install.* -r (\S+)", planned("UV=", target=target))


@pytest.mark.parametrize(
    ("version", "message"),
    [
        (Version(2, 7, 18), "Python 3.11 to 3.13 is needed; try make PYTHON=python3.12"),
        (Version(3, 10, 9), "Python 3.11 to 3.13 is needed; try make PYTHON=python3.12"),
        (Version(3, 11, 0), None),
        (Version(3, 13, 9), None),
        (Version(3, 14, 0), ".*litert-converter, tensorflow-text and mediapipe have no wheels.*"),
    ],
    ids=str,
)
def test_a_python_without_wheels_is_refused_with_the_reason(version, message):
    code = re.search(r"-c '(.*?)'", planned("UV="))[1]
    with mock.patch.object(sys, "version_info", version), pytest.raises(SystemExit) as ended:
        exec(code, {})
    assert ended.value.code is None if message is None else re.fullmatch(message, ended.value.code)


def test_it_installs_with_uv_where_uv_is_there():
    with_pip, with_uv = planned("UV="), planned("UV=/bin/uv")
    assert ".venv/bin/pip install" in with_pip and "uv" not in with_pip
    assert "/bin/uv pip install" in with_uv and ".venv/bin/pip" not in with_uv


def test_only_what_needs_the_packages_for_development_installs_them():
    for target in ("repro", "chat", "web", "verify"):
        assert installed_by(target) == ["requirements.lock"]
    for target in ("test", "quick", "lint", "faults", "bench", "readme"):
        assert installed_by(target) == ["requirements.lock", "requirements-dev.lock"]


def test_torch_comes_from_the_cpu_index_unless_cuda_is_asked_for():
    assert "[ cpu = cpu ]" in planned("UV=") and "whl/cpu" in planned("UV=")
    assert "[ cuda = cpu ]" in planned("UV=", "TORCH=cuda")


@pytest.mark.parametrize("made_with, asked_for", [("cpu", "cuda"), ("cuda", "cpu"), ("", "cuda")])
def test_another_torch_replaces_the_one_that_is_installed(tmp_path, made_with, asked_for):
    """2.13.0+cpu is 2.13.0 to pip, so it would stay."""
    install_into(tmp_path, made_with)
    commands = make("--dry-run", "UV=", "repro", f"TORCH={asked_for}", cwd=tmp_path)
    assert f"[ {asked_for} = cpu ]" in commands
    assert re.findall(r"pip install .*--force-reinstall .*torch==", commands)


@pytest.mark.parametrize("asked_for", ["gpu", "CPU", "", "cpu cuda"])
def test_another_word_than_cpu_and_cuda_is_refused(asked_for):
    message = f'TORCH is "{asked_for}": say TORCH=cpu or TORCH=cuda'
    make("--dry-run", "repro", f"TORCH={asked_for}", message=message)


def test_a_variable_of_that_name_for_something_else_is_left_alone(monkeypatch):
    monkeypatch.setenv("TORCH", "/opt/libtorch")
    assert "[ cpu = cpu ]" in planned("UV=")


@pytest.fixture
def machine(tmp_path):
    """Installs into a .venv of stand-ins, on Linux; gives a function that says which torch is there
    and whether PyTorch's index answers, and runs make.
    """
    log = tmp_path / "log"

    def install(*settings, there, index_answers, message=None, pip=f'echo "$@" >> {log}'):
        packages = tmp_path / ".venv/lib/python3.11/site-packages"
        (packages / {"cpu": "torch-2+cpu.dist-info", "cuda": "torch-2.dist-info"}[there]).mkdir(
            parents=True
        )
        (tmp_path / ".venv/bin").mkdir()
        for name, code in {
            "pip": pip,
            "uname": "echo Linux",
            "python": f"case $2 in *urllib*) exit {int(not index_answers)};; esac",
        }.items():
            write_command(tmp_path / ".venv/bin" / name, code)
        make(".venv/installed", "UV=", "PYTHON=python", *settings, cwd=tmp_path, message=message)
        installed = log.read_text().splitlines() if log.exists() else []
        return [line.removeprefix("install ") for line in installed]

    return install


def test_without_pytorch_s_index_the_stamp_says_what_pypi_gave(tmp_path, machine):
    shutil.copyfile(ROOT / "Makefile", tmp_path / "Makefile")
    (tmp_path / "requirements.lock").write_text("torch==2\n")
    assert machine(there="cuda", index_answers=False) == [
        "--disable-pip-version-check -r requirements.lock"
    ]
    assert (tmp_path / ".venv/installed").read_text() == "cuda\n"


def test_without_pytorch_s_index_cuda_is_not_called_cpu(tmp_path, machine):
    install_into(tmp_path, "cuda")
    message = "whl/cpu does not answer: torch's CUDA build stays. Try again later"
    assert machine("TORCH=cpu", there="cuda", index_answers=False, message=message) == []
    assert (tmp_path / ".venv/installed").read_text() == "cuda\n"


def test_after_an_installation_that_failed_half_way_nothing_is_called_installed(tmp_path, machine):
    install_into(tmp_path, "cpu")
    (tmp_path / "requirements.lock").write_text("fail\n")
    pip = 'case "$*" in *" -r "*) exit 1;; esac'
    machine("TORCH=cuda", there="cuda", index_answers=True, message="Error 1", pip=pip)
    assert not (tmp_path / ".venv/installed").exists()


def test_the_cpu_build_replaces_cuda_s(tmp_path, machine):
    install_into(tmp_path, "cuda")
    torch, _ = machine("TORCH=cpu", there="cpu", index_answers=True)
    assert re.search(r"--no-deps --force-reinstall torch==\S+ --index-url \S+/whl/cpu$", torch)
    assert (tmp_path / ".venv/installed").read_text() == "cpu\n"


@pytest.mark.parametrize(
    "made_with, settings", [("cuda", ()), ("cuda", ("TORCH=cuda",)), ("cpu", ()), ("", ())]
)
def test_the_torch_that_is_installed_stays(tmp_path, made_with, settings):
    """An empty stamp is one of a Makefile that did not write which torch it was."""
    install_into(tmp_path, made_with)
    commands = make("--dry-run", "repro", *settings, cwd=tmp_path)
    assert commands.splitlines() == ["dvc repro", "python scripts/gate.py"]


def install_into(folder, torch):
    """A .venv as the Makefile leaves it."""
    for name in ("Makefile", "requirements.lock"):
        shutil.copyfile(ROOT / name, folder / name)
    (folder / ".venv").mkdir()
    (folder / ".venv/installed").write_text(torch and f"{torch}\n")


@pytest.mark.parametrize(
    "asked_for, message",
    [
        ("3.11", None),
        ("3.12", ".venv has Python 3.11, and ./python is 3.12: `make clean` removes .venv"),
        ("", ".venv has Python 3.11, and ./python is not there: `make clean` removes .venv"),
    ],
)
def test_another_python_than_that_of_venv_is_not_passed_over(tmp_path, asked_for, message):
    install_into(tmp_path, "cpu")
    (tmp_path / ".venv/bin").mkdir()
    write_command(tmp_path / ".venv/bin/python", "echo 3.11")
    if asked_for:
        write_command(tmp_path / "python", f"echo {asked_for}")
    make("--dry-run", "repro", "PYTHON=./python", cwd=tmp_path, message=message)
    make("--dry-run", "repro", cwd=tmp_path)
    make("--dry-run", "clean", "PYTHON=./python", cwd=tmp_path)


def test_a_new_lock_does_not_load_torch_again():
    assert "--force-reinstall" not in planned("UV=")


def test_help_lists_every_target():
    phony = re.search(r"^\.PHONY: (.*)", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    listed = [line.split()[0] for line in make("help").splitlines()]
    assert sorted(listed) == sorted(phony.split())


def test_verify_removes_only_when_asked_to():
    assert "--remove" not in make("--dry-run", "--old-file", ".venv/installed", "verify")
    assert "--remove" in make("--dry-run", "--old-file", ".venv/installed", "verify", "REMOVE=yes")


@pytest.fixture
def debian(tmp_path):
    """Makes the system look like a bare Debian; gives make's settings and what apt-get was told."""
    log = tmp_path / "log"
    for name, code in {
        "id": "echo 0",
        "apt-get": f'echo "$@" >> {log}',
        "timeout": 'shift; exec "$@"',  # macOS has none
    }.items():
        write_command(tmp_path / name, code)
    return (f"PATH={tmp_path}",), log


def write_command(path, code=""):
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    "there, asked_for",
    [
        ((), "chromium firefox-esr npm"),
        (("npm", "firefox-esr"), "chromium"),
        (("chromium", "firefox"), "npm"),
        (("chromium", "npm"), "firefox-esr"),
    ],
)
def test_root_on_debian_gets_what_is_missing_of_browsers_and_npm(
    debian, tmp_path, there, asked_for
):
    """Only that: Debian's npm conflicts with other packages of Node.js."""
    settings, log = debian
    for name in there:
        write_command(tmp_path / name)
    make("browser", *settings)
    told = log.read_text().splitlines()[1:]  # one by one: an unknown name stops no other
    assert told == [f"install -qq -y --no-install-recommends {name}" for name in asked_for.split()]


def test_nothing_is_installed_where_all_are_there(debian, tmp_path):
    settings, log = debian
    for name in ("chromium", "firefox-esr", "npm"):
        write_command(tmp_path / name)
    make("browser", *settings)
    assert not log.exists()


def test_no_browser_installs_nothing(debian):
    settings, log = debian
    make("browser", "NO_BROWSER=1", *settings)
    assert not log.exists()
