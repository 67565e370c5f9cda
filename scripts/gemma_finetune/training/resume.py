"""Checkpoints of an unfinished training, so that a killed one resumes and ends with the same bytes.

A run has one file, `.resume/train-KEY.npz`, and the folder `.resume/train-KEY.tokens` with its
tokenized data. They lie outside the stage's outs, because DVC removes those before it runs a stage.
KEY is a digest of everything that determines the run, so a run never finds the checkpoint of
another one. Both are removed when the run succeeds; a training that starts also removes what other
runs left in `.resume/` and have not written to for a week.
"""

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gemma_finetune.models.config import LoRAConfig, ModelConfig
from gemma_finetune.models.library import keras
from gemma_finetune.training.callbacks import Logs, LoRASave, MetricsLogger
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.training.distribution import is_first_process
from gemma_finetune.utils.device import device_name
from gemma_finetune.utils.files import aside, remove_left_behind, sha256
from gemma_finetune.utils.npz import read_arrays

FOLDER = Path(".resume")
KEPT_DAYS = 7  # without being written
# Parameters that change when a checkpoint is written, or that others were chosen by.
NO_INFLUENCE = ("train.save_every_steps", "train.save_every_minutes", "train.memory_gb")
PACKAGE = Path(__file__).parents[1]
LIBRARIES = ("jax", "jaxlib", "keras", "keras-hub", "numpy", "sentencepiece")


def run_settings(model: ModelConfig, lora: LoRAConfig, config: TrainingConfig) -> dict[str, object]:
    """The parameters that can change the adapter, by name, as dvc.yaml lists them for `train`.

    Of `model` only the dtype: the rest decides the base, whose files are inputs.
    """
    settings: dict[str, object] = {"model.dtype": model.dtype}
    settings |= {f"lora.{name}": value for name, value in asdict(lora).items()}
    settings |= {f"train.{name}": value for name, value in asdict(config).items()}
    return {name: value for name, value in settings.items() if name not in NO_INFLUENCE}


def run_key(settings: dict[str, object], files: Iterable[Path]) -> str:
    """Digest of settings, input files, the code that is imported, libraries, and the device.

    Call it when the script has imported all that it uses: other code is not in the key.
    """
    facts = {
        "settings": settings,
        "files": [sha256(file) for file in files],
        "code": {file.relative_to(PACKAGE).as_posix(): sha256(file) for file in imported_code()},
        "libraries": [version(name) for name in LIBRARIES],
        "device": [device_name(), os.environ.get("XLA_FLAGS", "")],
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def imported_code() -> list[Path]:
    """The files of this package that are imported at this moment, sorted."""
    files = []
    for name, module in list(sys.modules.items()):
        if name.split(".")[0] == PACKAGE.name and getattr(module, "__file__", None):
            files.append(Path(str(module.__file__)))
    return sorted(files)


class RunFile:
    """The checkpoint of one run: named arrays and a JSON value. It is never half-written.

    `tokens` is the folder for what this process tokenizes.
    """

    def __init__(self, key: str) -> None:
        self.path = FOLDER / f"train-{key}.npz"
        number = jax.process_index()
        self.tokens = FOLDER / (f"train-{key}.tokens" + (f".{number}" if number else ""))

    def write(self, arrays: dict[str, np.ndarray], facts: dict[str, Any]) -> None:
        """Overwrites the checkpoint."""
        with aside(self.path) as temporary, open(temporary, "wb") as file:
            # Numpy takes any name
            np.savez(file, facts=json.dumps(facts), **arrays)  # type: ignore[arg-type]

    def read(self) -> tuple[dict[str, np.ndarray], dict[str, Any]] | None:
        """What was written last; None if nothing was, or if the file is damaged."""
        try:
            arrays = read_arrays(self.path)
            return arrays, json.loads(str(arrays.pop("facts")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError) as error:
            print(f"{self.path}: damaged ({error}); the run starts anew", file=sys.stderr)
            return None

    def remove(self) -> None:
        """Removes the file, and what a killed run of the same key left next to it."""
        self.path.unlink(missing_ok=True)
        remove_left_behind(self.path)
        self.remove_tokens()

    def remove_tokens(self) -> None:
        """Removes the tokens of this process."""
        shutil.rmtree(self.tokens, ignore_errors=True)
        with suppress(OSError):  # missing, or something else is in it
            FOLDER.rmdir()

    def remove_old_ones(self) -> None:
        """Removes what other runs left and have not written to for KEPT_DAYS; counts the rest.

        A run that is still going writes more often than that.
        """
        if not FOLDER.is_dir():
            return
        oldest = time.time() - KEPT_DAYS * 24 * 3600
        ours = self.path.stem  # the checkpoint, and tokens
        others = [path for path in FOLDER.iterdir() if not path.name.startswith(ours)]
        old = [path for path in others if path.stat().st_mtime < oldest]
        for path in old:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if left := {path.name.split(".")[0] for path in set(others) - set(old)}:
            print(
                f"{FOLDER}/ holds {len(left)} unfinished runs with other settings, inputs or code; "
                f"what is not written for {KEPT_DAYS} days is removed",
                file=sys.stderr,
            )


class SaveState(keras.callbacks.Callback):
    """Writes a checkpoint every `every` steps or `minutes`, and around each validation.

    So a validation that is cut off costs no more than one step beside itself.

    `variables` are all that a step changes. Put it after `best` and `log` in the list of callbacks.
    """

    def __init__(
        self,
        file: RunFile,
        every: int,
        minutes: float,
        variables: list[keras.Variable],
        best: LoRASave,
        log: MetricsLogger,
    ) -> None:
        super().__init__()
        self.file, self.every, self.minutes, self.variables = file, every, minutes, variables
        self.best, self.log = best, log
        self.saved_at = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        left = self.params["steps"] - 1 - batch  # in this epoch; after its last, it is validated
        is_late = time.monotonic() - self.saved_at >= 60 * self.minutes
        if left and (is_late or left == 1 or len(self.log.rows) % self.every == 0):
            self.save()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._save()

    def save(self) -> None:
        """Writes a checkpoint within an epoch."""
        self.model.jax_state_sync()
        self._save()

    def _save(self) -> None:
        if not is_first_process():
            return
        arrays = {}
        for number, variable in enumerate(self.variables):
            arrays[f"variable/{number}"] = np.asarray(variable)
        for name, array in self.best.weights.items():
            arrays[f"best/{name}"] = array
        facts = {
            "best": [self.best.best, self.best.best_epoch],
            "base_loss": self.log.base_loss,
            "val_loss": self.log.val_loss,
            "rows": self.log.rows,
        }
        self.file.write(arrays, facts)
        self.saved_at = time.monotonic()

    def restore(self) -> bool:
        """Restores the last checkpoint; False if there is none."""
        saved = self.file.read()
        if saved is None:
            return False
        arrays, facts = saved
        for number, variable in enumerate(self.variables):
            variable.assign(arrays[f"variable/{number}"])
        best = {name: array for name, array in arrays.items() if name.startswith("best/")}
        self.best.weights = {name.removeprefix("best/"): array for name, array in best.items()}
        self.best.best, self.best.best_epoch = facts["best"]
        self.log.base_loss, self.log.val_loss = facts["base_loss"], facts["val_loss"]
        self.log.rows = [tuple(row) for row in facts["rows"]]
        return True
