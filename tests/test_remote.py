"""The remote as a team uses it: push, clone, pull. In a folder as it is, and over S3's protocol on
this machine.
"""

import shutil
import socket
import subprocess

import boto3
import pytest
from moto.server import ThreadedMotoServer

from clones import git, run

pytestmark = pytest.mark.slow

ANOTHER_RANK = ("dvc", "exp", "run", "--pull", "--allow-missing", "-S", "lora.rank=16")
CREDENTIALS = {"access_key_id": "someone", "secret_access_key": "their secret"}


@pytest.fixture(scope="module")
def pushed_to_folder(stand_ins, tmp_path_factory):
    """A clone whose outputs are in the remote that .dvc/config names, and what a teammate needs for
    access: nothing.
    """
    clone = shutil.copytree(stand_ins, tmp_path_factory.mktemp("folder") / "a")
    run(clone, "dvc", "push", "--run-cache")
    return clone, {}


@pytest.fixture(scope="module")
def pushed_to_s3(stand_ins, tmp_path_factory):
    clone = shutil.copytree(stand_ins, tmp_path_factory.mktemp("s3") / "a")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    access = CREDENTIALS | {"endpointurl": f"http://127.0.0.1:{port}", "region": "us-east-1"}
    boto3.client(
        "s3",
        endpoint_url=access["endpointurl"],
        region_name="us-east-1",
        aws_access_key_id="someone",
        aws_secret_access_key="their secret",
    ).create_bucket(Bucket="bucket")
    run(clone, "dvc", "remote", "modify", "shared", "url", "s3://bucket/path")
    git(clone, "commit", "-qam", "Share on S3")
    log_in(clone, access)
    run(clone, "dvc", "push", "--run-cache")
    yield clone, access
    server.stop()


def log_in(clone, access):
    for key, value in access.items():
        run(clone, "dvc", "remote", "modify", "--local", "shared", key, value)


@pytest.fixture(params=["folder", "s3"])
def pushed(request):
    return request.getfixturevalue(f"pushed_to_{request.param}")


@pytest.fixture
def teammate(pushed, request):
    """A fresh `git clone` beside the one that pushed, with the same access and nothing pulled."""
    source, access = pushed
    clone = source.parent / request.node.name.replace("[", "-").replace("]", "")
    subprocess.run(["git", "clone", "-q", str(source), str(clone)], check=True, timeout=600)
    log_in(clone, access)
    return clone


def test_a_teammate_pulls_and_nothing_is_left_to_run(pushed, teammate):
    run(teammate, "dvc", "pull", "--run-cache")
    assert adapter(teammate) == adapter(pushed[0])
    assert run(teammate, "dvc", "status").strip().endswith("up to date.")
    assert "Running stage" not in run(teammate, "dvc", "repro")
    assert subprocess.check_output(["git", "status", "--short"], cwd=teammate, timeout=600) == b""


def test_a_file_damaged_on_the_remote_is_not_taken_for_the_teammates(pushed_to_folder, tmp_path):
    """Without `verify` DVC copies it, and calls all up to date."""
    source = pushed_to_folder[0]
    remote, clone = tmp_path / "remote", tmp_path / "clone"
    shutil.copytree(source.parent / "dvc-remote", remote)
    (damaged,) = [
        file
        for file in remote.rglob("*")
        if file.is_file() and file.read_bytes() == adapter(source)
    ]
    damaged.chmod(0o644)
    damaged.write_bytes(b"S" + adapter(source)[1:])
    damaged.chmod(0o444)
    subprocess.run(["git", "clone", "-q", str(source), str(clone)], check=True, timeout=600)
    run(clone, "dvc", "remote", "modify", "--local", "shared", "url", str(remote))
    assert "models/lora.npz" in run(clone, "dvc", "pull", ok=False)
    assert not (clone / "models/lora.npz").exists()
    assert (clone / "models/base/tokenizer.model").exists()


def test_credentials_stay_out_of_git(pushed_to_s3):
    clone, access = pushed_to_s3
    assert access["secret_access_key"] in (clone / ".dvc/config.local").read_text()
    assert ".dvc/config" in git_files(clone) and ".dvc/config.local" not in git_files(clone)


@pytest.mark.parametrize("pushed", ["folder"], indirect=True)  # from a bucket it is the same
def test_an_experiment_in_a_clone_with_nothing_pulled_fetches_only_what_train_reads(teammate):
    """Train then finds a stand-in where its base should be, and stops: what was fetched is what
    counts here.
    """
    output = run(teammate, *ANOTHER_RANK, ok=False)
    assert "Running stage 'train'" in output and "Traceback" not in output
    tracked = {teammate / name for name in git_files(teammate)}
    fetched = {
        file
        for folder in ("data", "models")
        for file in (teammate / folder).rglob("*")
        if file.is_file()
    }
    assert {file.relative_to(teammate).as_posix() for file in fetched - tracked} == {
        "data/formatted/train.jsonl",
        "data/formatted/validation.jsonl",
        "models/base/config.json",
        "models/base/tokenizer.model",
    }


def adapter(clone):
    return (clone / "models/lora.npz").read_bytes()


def git_files(clone):
    return subprocess.check_output(
        ["git", "ls-files", "-o", "-c", "--exclude-standard"], cwd=clone, text=True, timeout=600
    ).split()


def test_weights_can_have_a_remote_of_their_own(pushed_to_folder, tmp_path):
    """Licensed weights: who may not read their remote still pulls the data by name."""
    source = pushed_to_folder[0]
    clone, restricted = tmp_path / "clone", tmp_path / "restricted"
    subprocess.run(["git", "clone", "-q", str(source), str(clone)], check=True, timeout=600)
    run(clone, "dvc", "remote", "modify", "shared", "url", str(source.parent / "dvc-remote"))
    run(clone, "dvc", "pull")
    run(clone, "dvc", "remote", "modify", "shared", "url", str(tmp_path / "data"))
    run(clone, "dvc", "remote", "modify", "models", "url", str(restricted))
    run(clone, "dvc", "push")
    assert holds(restricted, b"lora.npz") and not holds(tmp_path / "data", b"lora.npz")
    run(clone, "rm", "-rf", ".dvc/cache", "data/formatted", "models")
    restricted.rename(tmp_path / "out of reach")
    run(clone, "dvc", "pull", "data/formatted")
    run(clone, "dvc", "pull", "models/lora.npz", ok=False)
    (tmp_path / "out of reach").rename(restricted)
    run(clone, "dvc", "pull")
    assert run(clone, "dvc", "status").strip().endswith("up to date.")


def holds(remote, content):
    return any(content in file.read_bytes() for file in remote.rglob("*") if file.is_file())
