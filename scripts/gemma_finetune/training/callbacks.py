"""What happens around the steps of `fit`: keep the best adapter, log, show progress, stop on a
broken loss.
"""

import csv
import io
import math
from pathlib import Path

import jax
import keras
from tqdm import tqdm

from gemma_finetune.models.lora import LoRADense, adapter_weights
from gemma_finetune.training.data_pipeline import Batches
from gemma_finetune.training.distribution import is_first_process
from gemma_finetune.utils.cli import UserError
from gemma_finetune.utils.files import aside
from gemma_finetune.utils.gpu import device_name, peak_memory


class LoRASave(keras.callbacks.Callback):
    """Keeps the adapter of the lowest validation loss in `weights`, or the last one where nothing
    validates.

    `best_epoch` counts from 1; 0: none yet.
    """

    def __init__(self, adapters: dict[str, LoRADense]):
        super().__init__()
        self.adapters, self.best, self.best_epoch, self.weights = adapters, math.inf, 0, {}

    def on_epoch_end(self, epoch, logs=None):
        loss = logs.get("val_loss", -math.inf)
        if loss < self.best or "val_loss" not in logs:
            self.best, self.best_epoch = loss, epoch + 1
            self.weights = adapter_weights(self.adapters)


class MetricsLogger(keras.callbacks.Callback):
    """A row per step: step, epoch, loss, val_loss (the latest), learning_rate, grad_norm, tokens
    (supervised).

    CSV, because that is what `dvc plots` reads; no wall-clock, so that a rerun writes the same
    bytes.
    """

    FIELDS = ("step", "epoch", "loss", "val_loss", "learning_rate", "grad_norm", "tokens")

    def __init__(
        self,
        schedule: keras.optimizers.schedules.LearningRateSchedule,
        val_loss: float | None = None,
    ):
        super().__init__()
        self.rows, self.epoch, self.val_loss = [], 0, val_loss
        self.schedule = jax.jit(
            schedule
        )  # as it is, its `cond` would compile anew every step: 50 ms

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch + 1

    def on_train_batch_end(self, batch, logs=None):
        step = len(self.rows) + 1
        rate = float(self.schedule(step - 1))
        loss, norm = float(logs["loss"]), float(logs["grad_norm"])
        self.rows.append(
            (
                step,
                self.epoch,
                _short(loss),
                _short(self.val_loss),
                _short(rate),
                _short(norm),
                int(logs["tokens"]),
            )
        )

    def on_epoch_end(self, epoch, logs=None):
        self.val_loss = logs.get("val_loss", self.val_loss)

    def write(self, path: str | Path) -> None:
        """The log as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.FIELDS)
        writer.writerows(self.rows)
        with aside(path) as temporary:
            temporary.write_text(text.getvalue())


def _short(value):
    return "" if value is None else float(f"{value:.6g}")


class StopOnNaN(keras.callbacks.Callback):
    """Ends the run at the first loss or gradient that is not a number, and says at which step and
    on which rows.
    """

    def __init__(self, batches: Batches, steps_before: int):
        super().__init__()
        self.batches, self.steps_before = batches, steps_before

    def on_train_batch_end(self, batch, logs=None):
        for name, value in (
            ("loss", float(logs["loss"])),
            ("gradient norm", float(logs["grad_norm"])),
        ):
            if not math.isfinite(value):
                lines = ", ".join(map(str, self.batches.numbers(batch)))
                raise UserError(
                    f"train: the {name} is {value} at step {self.steps_before + batch + 1}, on lines {lines} of "
                    "data/formatted/train.jsonl; lower train.learning_rate or lengthen train.warmup_steps"
                )


class Progress(keras.callbacks.Callback):
    """One line on the terminal: steps done, time left, loss, tokens a second."""

    def __init__(self, steps: int, steps_before: int, tokens_per_step: int):
        super().__init__()
        self.tokens_per_step, self.val_loss = tokens_per_step, None
        name = f"train on {device_name()}"
        self.bar = tqdm(
            total=steps,
            initial=steps_before,
            unit="step",
            desc=name,
            mininterval=1,
            disable=not is_first_process(),
        )

    def on_train_batch_end(self, batch, logs=None):
        rate = self.bar.format_dict["rate"]
        speed = f"{rate * self.tokens_per_step:,.0f} tok/s" if rate else ""
        self.bar.set_postfix_str(
            f"loss {float(logs['loss']):.3f} val {self.val_loss or math.nan:.3f} {speed}",
            refresh=False,
        )
        self.bar.update()

    def on_epoch_end(self, epoch, logs=None):
        self.val_loss = logs.get("val_loss")

    def close(self):
        self.bar.close()


class MemoryMonitor(keras.callbacks.Callback):
    """Knows the peak memory of the run, host and device, as of its last epoch's end; as text: "host
    1.23 GB".
    """

    def __init__(self):
        super().__init__()
        self.peak = {}

    def on_epoch_end(self, epoch, logs=None):
        self.peak = peak_memory()

    def __str__(self):
        return ", ".join(f"{where} {size:.2f} GB" for where, size in self.peak.items())
