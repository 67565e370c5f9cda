"""What an unfinished run leaves, so that a killed one goes on where it was and ends with the same
bytes.

One file a run, `.resume/train-KEY.npz`, outside the stage's outs: DVC removes those before it runs
a stage. KEY is the digest of all that determines the run, so what lies under a run's own key is its
own, never stale; gone on success.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np

from gemma_finetune.formats.npz import read_arrays
from gemma_finetune.training.callbacks import LoRASave, MetricsLogger
from gemma_finetune.training.distribution import is_first_process
from gemma_finetune.utils.files import aside, remove_left_behind, sha256
from gemma_finetune.utils.gpu import device_name

FOLDER = Path(".resume")
PACKAGE = Path(__file__).parents[1]
LIBRARIES = ("jax", "jaxlib", "keras", "keras-hub", "numpy", "sentencepiece")


def run_key(settings: Iterable[object], files: Iterable[Path]) -> str:
    """Digest of settings, input files, all our code, the libraries, and what computes."""
    facts = {
        "settings": [repr(section) for section in settings],
        "files": [sha256(file) for file in files],
        "code": {
            file.relative_to(PACKAGE).as_posix(): sha256(file)
            for file in sorted(PACKAGE.rglob("*.py"))
        },
        "libraries": [version(name) for name in LIBRARIES],
        "device": [device_name(), os.environ.get("XLA_FLAGS", "")],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


class RunFile:
    """The file of one run's state: named arrays and a JSON value, whole or not there."""

    def __init__(self, key: str):
        self.path = FOLDER / f"train-{key}.npz"

    def write(self, arrays: dict[str, np.ndarray], facts: dict) -> None:
        with aside(self.path) as temporary, open(temporary, "wb") as file:
            # Numpy takes any name
            np.savez(file, facts=json.dumps(facts), **arrays)  # type: ignore[arg-type]

    def read(self) -> tuple[dict[str, np.ndarray], dict] | None:
        """What was written last, or None."""
        try:
            arrays = read_arrays(self.path)
            return arrays, json.loads(str(arrays.pop("facts")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            print(f"{self.path}: damaged ({error}); the run starts anew", file=sys.stderr)
            return None

    def remove(self) -> None:
        """Removes the file, and what a killed run of the same key left beside it."""
        self.path.unlink(missing_ok=True)
        remove_left_behind(self.path)
        if FOLDER.is_dir() and not any(FOLDER.iterdir()):
            FOLDER.rmdir()


class SaveState(keras.callbacks.Callback):
    """Saves the run every `every` steps, and after each epoch when it has been validated.

    `variables` are all that a step changes. Comes after `best` and `log` in the list of callbacks.
    """

    def __init__(
        self, file: RunFile, every: int, variables: list, best: LoRASave, log: MetricsLogger
    ):
        super().__init__()
        self.file, self.every, self.variables, self.best, self.log = (
            file,
            every,
            variables,
            best,
            log,
        )

    def on_train_batch_end(self, batch, logs=None):
        last = batch == self.params["steps"] - 1  # saved after its validation
        if len(self.log.rows) % self.every == 0 and not last:
            self.model.jax_state_sync()
            self._save()

    def on_epoch_end(self, epoch, logs=None):
        self._save()

    def _save(self):
        if not is_first_process():
            return
        arrays = {
            f"variable/{n}": np.asarray(variable) for n, variable in enumerate(self.variables)
        }
        arrays |= {f"best/{name}": array for name, array in self.best.weights.items()}
        facts = {
            "best": [self.best.best, self.best.best_epoch],
            "val_loss": self.log.val_loss,
            "rows": self.log.rows,
        }
        self.file.write(arrays, facts)

    def restore(self) -> bool:
        """Brings back the last state saved; False if there is none."""
        saved = self.file.read()
        if saved is None:
            return False
        arrays, facts = saved
        for n, variable in enumerate(self.variables):
            variable.assign(arrays[f"variable/{n}"])
        names = (name for name in arrays if name.startswith("best/"))
        self.best.weights = {name.removeprefix("best/"): arrays[name] for name in names}
        self.best.best, self.best.best_epoch = facts["best"]
        self.log.val_loss, self.log.rows = facts["val_loss"], [tuple(row) for row in facts["rows"]]
        return True
