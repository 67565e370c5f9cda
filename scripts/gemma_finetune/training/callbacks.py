"""What happens around the steps of `fit`.

Keeps the best adapter, logs, shows progress, stops on a broken loss and on Ctrl-C, measures memory.
"""

import csv
import math
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import jax
import numpy as np

from gemma_finetune.models.library import keras
from gemma_finetune.models.lora import LoRADense, adapter_weights
from gemma_finetune.training.data_pipeline import Batches
from gemma_finetune.training.distribution import is_first_process
from gemma_finetune.utils.device import device_name, peak_by_device
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.files import aside
from gemma_finetune.utils.progress import Bar

Logs = dict[str, Any]  # of a step: loss, grad_norm, tokens; of an epoch: also val_loss


class LoRASave(keras.callbacks.Callback):
    """Keeps in `weights` the adapter with the lowest validation loss; without validation, the last.

    `best` is that loss. `best_epoch` counts from 1; 0: no epoch has ended yet.
    """

    def __init__(self, adapters: dict[str, LoRADense]) -> None:
        super().__init__()
        self.adapters = adapters
        self.best, self.best_epoch = math.inf, 0
        self.weights: dict[str, np.ndarray] = {}

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        loss = logs.get("val_loss", -math.inf)
        if loss < self.best or "val_loss" not in logs:
            self.best, self.best_epoch = loss, epoch + 1
            self.weights = adapter_weights(self.adapters)


class MetricsLogger(keras.callbacks.Callback):
    """A row for each step; `tokens` are the supervised ones, `val_loss` is the latest.

    `base_loss` is the validation loss before training; None until it is known.

    Once `open` was called, each row is in the file as soon as its step is done; `close` writes the
    whole file again, since DVC may have put an older one in its place (`dvc exp run --queue`). CSV,
    because that is what `dvc plots` reads. No wall-clock times, so that a rerun writes the same
    bytes.
    """

    FIELDS = ("step", "epoch", "loss", "val_loss", "learning_rate", "grad_norm", "tokens")

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule) -> None:
        super().__init__()
        self.rows: list[tuple] = []
        self.file: TextIO | None = None
        self.epoch = 0
        self.base_loss: float | None = None
        self.val_loss: float | None = None
        # Without jit, the schedule's `cond` would compile anew every step: 50 ms.
        self.schedule = jax.jit(schedule)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        step = len(self.rows) + 1
        row = (
            step,
            self.epoch,
            _short(logs["loss"]),
            "" if self.val_loss is None else _short(self.val_loss),
            _short(self.schedule(step - 1)),
            _short(logs["grad_norm"]),
            int(logs["tokens"]),
        )
        self.rows.append(row)
        self._write([row])

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.val_loss = logs.get("val_loss", self.val_loss)

    def open(self, path: str | Path) -> None:
        """Writes the rows so far to a CSV file, and each later row as it comes."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        self.file = open(path, "w", encoding="utf-8")
        self._write([self.FIELDS, *self.rows])

    def _write(self, rows: list[tuple]) -> None:
        if self.file:
            _csv_writer(self.file).writerows(rows)
            self.file.flush()

    def close(self) -> None:
        if self.file:
            self.file.close()
            with aside(self.file.name) as path, open(path, "w", encoding="utf-8") as whole:
                _csv_writer(whole).writerows([self.FIELDS, *self.rows])
            self.file = None


def _csv_writer(file: TextIO) -> Any:
    return csv.writer(file, lineterminator="\n")


def _short(value: Any) -> float:
    return float(f"{float(value):.6g}")


class StopOnNaN(keras.callbacks.Callback):
    """Raises UserError at the first loss or gradient norm that is NaN or infinite.

    The message names the step and the rows of the batch.
    """

    def __init__(self, batches: Batches, steps_before: int) -> None:
        super().__init__()
        self.batches, self.steps_before = batches, steps_before

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        self._check("loss", float(logs["loss"]), batch)
        self._check("gradient norm", float(logs["grad_norm"]), batch)

    def _check(self, name: str, value: float, batch: int) -> None:
        if math.isfinite(value):
            return
        step = self.steps_before + batch + 1
        lines = ", ".join(map(str, self.batches.numbers(batch)))
        raise UserError(
            f"train: the {name} is {value} at step {step}, on lines {lines} of "
            "data/formatted/train.jsonl; lower train.learning_rate or lengthen train.warmup_steps"
        )


class StopOnInterrupt(keras.callbacks.Callback):
    """In a `with` block, Ctrl-C ends `fit` after a step: an exception inside a step can crash XLA.

    Before that it calls `save`, if that is set. The last step of an epoch, and a validation in
    `fit`, end with the epoch, whose end is saved anyway. A second Ctrl-C kills the process, even
    in a step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pressed = False
        self.save: Callable[[], None] | None = None
        self._in_fit = False

    def __enter__(self) -> "StopOnInterrupt":
        self._previous = signal.getsignal(signal.SIGINT)
        is_main = threading.current_thread() is threading.main_thread()
        self._listens = is_main and self._previous is not signal.SIG_IGN  # as in the background
        if self._listens:
            reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            signal.signal(signal.SIGINT, lambda *_: None)
            signal.set_wakeup_fd(self._writer)
            threading.Thread(target=self._listen, args=(reader,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if self._listens:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGINT, self._previous)
            os.close(self._writer)
        if kind is None:
            self._stop()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        self._in_fit = True

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if self.pressed and batch < self.params["steps"] - 1:
            if self.save:
                self.save()
            self._stop()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self._stop()

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        if not self._in_fit:
            self._stop()

    def _listen(self, reader: int) -> None:
        """Hears each signal at once. Python's own handler waits until a step has ended."""
        with open(reader, "rb", buffering=0) as signals:
            while number := signals.read(1):
                if number[0] != signal.SIGINT:
                    continue
                if self.pressed:
                    os.kill(os.getpid(), signal.SIGKILL)
                self.pressed = True
                os.write(
                    2,
                    b"\nstopping after this step, or after the validation that follows it; "
                    b"press Ctrl-C again to stop at once\n",
                )

    def _stop(self) -> None:
        if self.pressed:
            raise KeyboardInterrupt


class Progress(keras.callbacks.Callback):
    """One line on the terminal: steps done, time left, loss, tokens a second.

    While the model is validated, how far that is.
    """

    def __init__(
        self, steps: int, steps_before: int, tokens_per_step: int, val_loss: float | None
    ) -> None:
        super().__init__()
        self.tokens_per_step, self.val_loss = tokens_per_step, val_loss
        self.name = f"train on {device_name()}"
        self.bar = Bar(
            total=steps,
            initial=steps_before,
            unit="step",
            desc=self.name,
            disable=not is_first_process(),
        )

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        rate = self.bar.format_dict["rate"]  # steps a second; None at first
        speed = f"{rate * self.tokens_per_step:,.0f} tok/s" if rate else ""
        val_loss = "" if self.val_loss is None else f"val {self.val_loss:.3f} "
        self.bar.set_postfix_str(f"loss {float(logs['loss']):.3f} {val_loss}{speed}", refresh=False)
        self.bar.update()

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.bar.set_description_str(f"validate, batch {batch + 1:,}", refresh=False)

    def on_test_end(self, logs: Logs | None = None) -> None:
        self.bar.set_description_str(self.name)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        self.val_loss = logs.get("val_loss", self.val_loss)

    def close(self) -> None:
        self.bar.close()


class ValidationProgress(keras.callbacks.Callback):
    """One line on the terminal: batches of a validation."""

    def __init__(self, batches: int, what: str) -> None:
        super().__init__()
        hidden = not is_first_process()
        self.bar = Bar(total=batches, unit="batch", desc=what, leave=False, disable=hidden)

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        self.bar.update()

    def close(self) -> None:
        self.bar.close()


class MemoryMonitor(keras.callbacks.Callback):
    """Measures peak memory at the end of each epoch. As text: "host 1.23 GB, device 4.56 GB"."""

    def __init__(self) -> None:
        super().__init__()
        self.peak: dict[str, float] = {}

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        self.peak = peak_by_device()

    def __str__(self) -> str:
        return ", ".join(f"{where} {size:.2f} GB" for where, size in self.peak.items())
