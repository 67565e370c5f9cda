"""Runs the chunks of the data stages on the Ray cluster that RAY_ADDRESS names.

- The machines share no folder: code is sent to them when a stage connects, and the files that a
  function reads with the function. They need the packages of requirements.lock, and the same
  Python.
- A chunk whose machine is lost runs again on another one.
- At most AHEAD chunks are on their way, so the memory that a stage takes here is bounded.
"""

import hashlib
import os
import pickle
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside

SCRIPTS = Path(__file__).parents[2]
AHEAD = 128  # chunks: up to 512 MB of input, enough to keep 64 cores busy
RETRIES = 5  # of a chunk, if its worker or its machine is lost
PATIENCE = 10  # seconds until the cluster answers; Ray itself tries for minutes
LONG = 60  # seconds for a chunk


class File(NamedTuple):
    """A file as it is sent: workers read an array in Ray's shared memory without copying it."""

    name: str  # with a digest: a worker writes each content once
    content: np.ndarray  # (bytes,)


@contextmanager
def submitter(function: Callable) -> Iterator[Callable[[list], Callable]]:
    """Connects to the cluster. Yields `submit(chunk)`, which returns a function that waits.

    What waits returns `function(chunk)`, or raises what that raised. UserError if Ray is not
    installed, if the cluster cannot be reached or fails, or if a package is missing there.
    """
    ray = _import_ray()
    address = os.environ["RAY_ADDRESS"]
    files = _read_files(function)
    _connect(ray, address)
    try:
        task = ray.remote(_call).options(max_retries=RETRIES)
        # Sent once to each machine, not with every chunk.
        shared, shared_files = ray.put(function), ray.put(files)

        def submit(chunk: list) -> Callable:
            return partial(_wait, ray, task.remote(shared, shared_files, chunk))

        yield submit
    finally:
        ray.shutdown()


def _call(function: Callable, files: Mapping[str, File], chunk: list) -> bytes:
    """Runs on the cluster, in a folder of Ray's.

    Pickled here, because arrays would otherwise stay in Ray's shared memory until the stage ends.
    """
    for keyword, file in files.items():
        path = Path(file.name)
        if not path.exists():
            with aside(path) as temporary:
                file.content.tofile(temporary)
        function = partial(function, **{keyword: str(path)})
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


def _read_files(function: Callable) -> dict[str, File]:
    """The files whose paths `function`, a partial, gets as keyword arguments: {keyword: file}."""
    files: dict[str, File] = {}
    for keyword, value in getattr(function, "keywords", {}).items():
        if isinstance(value, str | Path) and os.path.isfile(value):
            content = np.fromfile(value, np.uint8)
            digest = hashlib.sha256(content.data).hexdigest()
            files[keyword] = File(f"{digest[:16]}-{Path(value).name}", content)
    return files


def _connect(ray: Any, address: str) -> None:
    """Connects, and sends our code: the folder in which the workers run."""
    try:
        _knock(address)
        ray.init(
            address,
            runtime_env={"working_dir": str(SCRIPTS)},
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
