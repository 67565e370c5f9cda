"""Runs the chunks of the data stages on the Ray cluster that RAY_ADDRESS names.

- The machines share no folder: code and files are sent to them when a stage connects. They need
  the packages of requirements.lock, and the same Python.
- A chunk whose machine is lost runs again on another one.
- At most AHEAD chunks are on their way, so the memory that a stage takes here is bounded.
"""

import os
import pickle
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from gemma_finetune.utils.cli import UserError

SCRIPTS = Path(__file__).parents[2]
AHEAD = 128  # chunks: up to 512 MB of input, enough to keep 64 cores busy
RETRIES = 5  # of a chunk, if its worker or its machine is lost
PATIENCE = 10  # seconds until the cluster answers; Ray itself tries for minutes
LONG = 60  # seconds for a chunk


@contextmanager
def submitter(function: Callable) -> Iterator[Callable[[list], Callable]]:
    """Connects to the cluster. Yields `submit(chunk)`, which returns a function that waits.

    What waits returns `function(chunk)`, or raises what that raised. UserError if Ray is not
    installed, if the cluster cannot be reached or fails, or if a package is missing there.
    """
    ray = _import_ray()
    address = os.environ["RAY_ADDRESS"]
    function, files = _find_files(function)
    _connect(ray, address, files)
    try:
        task = ray.remote(_call).options(max_retries=RETRIES)
        shared = ray.put(function)  # sent once to each machine, not with every chunk

        def submit(chunk: list) -> Callable:
            return partial(_wait, ray, task.remote(shared, chunk))

        yield submit
    finally:
        ray.shutdown()


def _call(function: Callable, chunk: list) -> bytes:
    """Runs on the cluster.

    Pickled here, because arrays would otherwise stay in Ray's shared memory until the stage ends.
    """
    return pickle.dumps(function(chunk))


def _wait(ray: Any, result: Any) -> Any:
    """The value of the reference `result`."""
    address = os.environ["RAY_ADDRESS"]
    ready, _ = ray.wait([result], timeout=LONG)
    if not ready:
        cores = ray.cluster_resources().get("CPU", 0)
        tqdm.write(f"still waiting for the Ray cluster: it has {cores:g} cores", sys.stderr)
    try:
        return pickle.loads(ray.get(result))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ModuleNotFoundError):
            raise UserError(
                f"RAY_ADDRESS={address}: {error.cause} on a machine of the cluster: install "
                "requirements.lock there"
            )
        raise error.cause from error  # `error` holds the worker's traceback
    except ray.exceptions.RayError as error:
        raise UserError(f"RAY_ADDRESS={address}: {_one_line(error)}; run the stage again")


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise UserError(
            "RAY_ADDRESS is set, but Ray is not installed: `pip install ray==2.60.0` (80 MB), or "
            "unset RAY_ADDRESS to use the cores of this machine"
        )
    return ray


def _find_files(function: Callable) -> tuple[Callable, dict[str, Path]]:
    """The files that `function`, a partial, gets as keyword arguments.

    Returns the function as the workers call it, and {path in their folder: path here}. Only paths
    outside the current folder have to change.
    """
    files: dict[str, Path] = {}
    if not isinstance(function, partial):
        return function, files

    keywords = dict(function.keywords)
    for name, value in function.keywords.items():
        if isinstance(value, str | Path) and os.path.isfile(value):
            path = Path(os.path.abspath(value))
            inside = path.is_relative_to(Path.cwd())
            target = path.relative_to(Path.cwd() if inside else path.anchor)
            files[str(target)] = path
            keywords[name] = type(value)(target)
    return partial(function.func, *function.args, **keywords), files


def _connect(ray: Any, address: str, files: dict[str, Path]) -> None:
    """Connects, and sends our code and `files`: the folder in which the workers run."""
    with TemporaryDirectory() as folder:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(SCRIPTS, folder, ignore=ignored, dirs_exist_ok=True)
        for target, path in files.items():
            copy = Path(folder, target)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        try:
            _knock(address)
            ray.init(
                address,
                runtime_env={"working_dir": folder},
                logging_level="ERROR",
                log_to_driver=False,
            )
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise UserError(
                f"RAY_ADDRESS={address}: cannot use this Ray cluster ({_one_line(error)}); start "
                "it with `ray start`, or unset RAY_ADDRESS to use the cores of this machine"
            )


def _knock(address: str) -> None:
    """OSError if nothing listens at HOST:PORT, or ray://HOST:PORT, within PATIENCE seconds."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=PATIENCE).close()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
