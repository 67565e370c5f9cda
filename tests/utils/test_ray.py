"""The data stages on a Ray cluster of three nodes: the same bytes, whatever happens to a node."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest
from ray.cluster_utils import Cluster

from gemma_finetune.data.converter import canonical
from gemma_finetune.data.rejection import Rejection
from gemma_finetune.utils import ray_cluster
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.parallel import map_ordered
from imports import SCRIPTS

pytestmark = pytest.mark.slow

STAGES = ("validate", "convert", "dedup", "format", "describe")
CLIENT_PORT = 20_000 + os.getpid() % 10_000
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}

# A stage as a plain script, with chunks of 5 rows, so that a little data makes many chunks.
SMALL_CHUNKS = """
import runpy, sys
sys.path.insert(0, sys.argv[1])
from gemma_finetune.utils import parallel
parallel.CHUNK_ROWS = 5
sys.argv = [f"{sys.argv[1]}/{sys.argv[2]}.py"]
runpy.run_path(sys.argv[0], run_name="__main__")
"""

SLEEPY = """
import sys, time
sys.path.insert(0, sys.argv[1])
from gemma_finetune.utils.parallel import map_ordered
from gemma_finetune.utils.cli import run

def sleep(chunk):
    time.sleep(0.2)
    return chunk

def main():
    for chunk in map_ordered(sleep, ([n] for n in range(10_000))):
        print(chunk, flush=True)

run(main, arguments=None)
"""


@contextmanager
def at_most(seconds):
    """Ends what hangs."""

    def stop(*_):
        raise TimeoutError(f"took over {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(autouse=True)
def time_limit():
    with at_most(240):
        yield


@pytest.fixture(scope="module")
def cluster():
    """A head with no core for chunks, and two nodes with one core each. Leaves no process."""
    folder = tempfile.mkdtemp(prefix="ray-")  # short: sockets have short names
    with pytest.MonkeyPatch.context() as patch, at_most(240):
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_TMPDIR", folder)  # not `temp_dir`: Ray also writes into the default one
        head = NODE | {"num_cpus": 0, "include_dashboard": False}
        head["ray_client_server_port"] = CLIENT_PORT
        cluster = Cluster(initialize_head=True, head_node_args=head)
        try:
            cluster.add_node(**NODE)
            cluster.add_node(**NODE)
            yield cluster
        finally:
            cluster.shutdown()
    wait_until(lambda: not processes_of(folder))
    shutil.rmtree(folder)


@pytest.fixture
def on_cluster(cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    return cluster


def processes_of(folder):
    """Processes that work in the folder, or name it in their command."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = [*(process.info["cmdline"] or []), process.info["cwd"] or ""]
        found += [process for word in words if folder in word]
    return found


def wait_until(condition):
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("it did not happen in 30 s")


def conversation(n):
    words = random.Random(n).choices(
        "one two three four five six seven eight nine ten".split(), k=9
    )
    return canonical([("human", f"Count {n}"), ("gpt", " ".join(words))], None, {})


def numbers(count):
    return ([n] for n in range(count))


def files_of(folder):
    paths = [*folder.glob("data/*/*"), *folder.glob("metrics/*")]
    return {path.relative_to(folder): path.read_bytes() for path in paths}


def test_every_stage_writes_the_same_bytes(on_cluster, write_params, tokenizer_path):
    folder = write_params({"data.max_lost_fraction": 0.5}).parent
    (folder / "data/raw").mkdir(parents=True)
    (folder / "models/base").mkdir(parents=True)
    shutil.copyfile(tokenizer_path, folder / "models/base/tokenizer.model")
    rows = [{"conversations": conversation(n % 90)["conversations"]} for n in range(100)]
    lines = [json.dumps(row) for row in rows]
    (folder / "data/raw/a.jsonl").write_text("\n".join([*lines, '{"bad": 1}']))

    run_stages(folder, environment={"RAY_ADDRESS": ""})
    expected = files_of(folder)
    for made in ("validated", "converted", "deduped", "formatted"):
        shutil.rmtree(folder / "data" / made)
    run_stages(folder, environment={"RAY_ADDRESS": on_cluster.address})
    assert files_of(folder) == expected and len(expected) > 10


def run_stages(folder, environment):
    for stage in STAGES:
        command = [sys.executable, "-c", SMALL_CHUNKS, SCRIPTS, stage]
        if not environment["RAY_ADDRESS"]:
            command = [sys.executable, SCRIPTS / f"{stage}.py"]  # few rows: one process
        done = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr


def test_a_node_that_is_killed_changes_nothing(on_cluster, monkeypatch):
    """Neither a chunk that it worked on nor a result that it still held is lost."""
    monkeypatch.setattr(ray_cluster, "AHEAD", 10)

    def draw(chunk):
        time.sleep(0.02)
        return np.random.default_rng(chunk[0]).random(50_000)

    results = map_ordered(draw, numbers(80))
    found = [next(results) for _ in range(20)]
    on_cluster.remove_node(next(iter(on_cluster.worker_nodes)), allow_graceful=False)
    found += results
    on_cluster.add_node(**NODE)

    assert len(found) == 80
    for number, values in enumerate(found):
        assert np.array_equal(values, np.random.default_rng(number).random(50_000))


def test_files_that_a_function_reads_are_sent(on_cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/inside.txt").write_text("inside")
    outside = tmp_path.with_name(f"{tmp_path.name}-outside.txt")
    outside.write_text("outside")

    def read(chunk, *, inside, outside, other):
        return Path(inside).read_text(), Path(outside).read_text(), Path(inside).suffix, other

    work = partial(read, inside=Path("models/inside.txt"), outside=str(outside), other="models")
    found = list(map_ordered(work, numbers(20)))
    assert found == [("inside", "outside", ".txt", "models")] * 20


def test_a_file_with_other_content_under_the_same_name_is_sent_again(
    on_cluster, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for content in ("old", "new"):
        Path("file.txt").write_text(content)
        work = partial(lambda chunk, *, path: Path(path).read_text(), path="file.txt")
        assert set(map_ordered(work, numbers(20))) == {content}


def test_chunks_run_on_every_node_with_code_that_was_sent_there(on_cluster):
    def where(chunk):
        import ray

        import gemma_finetune.config

        time.sleep(0.1)
        return ray.get_runtime_context().get_node_id(), gemma_finetune.config.__file__, os.getcwd()

    found = list(map_ordered(where, numbers(40)))
    assert len({node for node, _, _ in found}) == 2
    for _, file, folder in found:
        assert Path(file).is_relative_to(folder) and not Path(file).is_relative_to(SCRIPTS)


def test_a_stage_outside_the_cluster_connects_as_its_client(on_cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", f"ray://127.0.0.1:{CLIENT_PORT}")
    assert list(map_ordered(lambda chunk: 2 * chunk, numbers(20))) == [[n, n] for n in range(20)]


def test_input_is_read_only_a_little_ahead(on_cluster, monkeypatch):
    monkeypatch.setattr(ray_cluster, "AHEAD", 10)
    read = []

    def items():
        for n in range(1000):
            read.append(n)
            yield [n]

    results = map_ordered(lambda chunk: chunk, items())
    assert [next(results) for _ in range(5)] == [[n] for n in range(5)]
    assert len(read) <= 20
    results.close()


def test_results_do_not_stay_in_the_shared_memory_of_the_node(on_cluster):
    """`format` keeps arrays of every chunk. Those that Ray shares would be read-only."""
    results = list(map_ordered(lambda chunk: np.zeros(100_000), numbers(20)))
    assert all(array.flags.writeable for array in results)


@pytest.mark.parametrize(
    "error",
    [
        UserError("a.jsonl:1: fix it"),
        Rejection("too_long", "is long"),
        KeyError("k"),
    ],
)
def test_an_error_of_a_worker_is_raised_here_as_it_was_there(on_cluster, error):
    def fail(chunk):
        raise error

    with pytest.raises(type(error)) as raised:
        list(map_ordered(fail, numbers(20)))
    assert type(raised.value) is type(error)
    assert str(raised.value) == str(error)
    assert vars(raised.value).items() >= vars(error).items()


def test_a_package_that_a_node_lacks_is_named(on_cluster):
    def use(chunk):
        import not_installed  # type: ignore[import-not-found]  # noqa: F401

    with pytest.raises(UserError, match="No module named 'not_installed'.*requirements.lock"):
        list(map_ordered(use, numbers(20)))


def test_a_chunk_that_always_kills_its_worker_ends_in_one_sentence(on_cluster, monkeypatch):
    monkeypatch.setattr(ray_cluster, "RETRIES", 0)
    with pytest.raises(UserError, match="^RAY_ADDRESS=.*run the stage again$"):
        list(map_ordered(lambda chunk: os._exit(1), numbers(8)))


def test_ctrl_c_ends_in_one_word(on_cluster):
    command = [sys.executable, "-c", SLEEPY, SCRIPTS]
    process = subprocess.Popen(command, stdout=-1, stderr=-1, text=True)
    try:
        assert "[0]\n" in process.stdout  # it runs; Ray may have printed something before
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, errors) == (130, "interrupted\n")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "nowhere.invalid:6379", "nonsense"]
)
def test_a_cluster_that_cannot_be_reached_ends_in_one_sentence(monkeypatch, address):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and never listens
        address = address.format(port=closed.getsockname()[1])
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(UserError, match=f"^RAY_ADDRESS={address}: cannot use.*unset") as raised:
            list(map_ordered(len, numbers(20)))
    assert "\n" not in str(raised.value)
