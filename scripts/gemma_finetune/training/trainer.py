"""LoRA fine-tuning from packed rows to an adapter. Knows nothing of files."""

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gemma_finetune.models.config import LoRAConfig
from gemma_finetune.models.library import keras
from gemma_finetune.models.lora import adapter_weights, apply_lora
from gemma_finetune.training.callbacks import (
    LoRASave,
    MemoryMonitor,
    MetricsLogger,
    Progress,
    StopOnInterrupt,
    StopOnNaN,
    ValidationProgress,
)
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.training.data_pipeline import Batches, PackedRows, as_dataset
from gemma_finetune.training.distribution import (
    check_same_everywhere,
    is_first_process,
    share_of_batch,
)
from gemma_finetune.training.model import SupervisedModel
from gemma_finetune.training.optimizer import cosine_schedule, make_optimizer
from gemma_finetune.training.resume import RunFile, SaveState
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.imports import import_tensorflow


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The adapter with the lowest validation loss, the log of the run, and its figures."""

    weights: dict[str, np.ndarray]
    log: MetricsLogger
    metrics: dict[str, float]


class GemmaTrainer:
    """Fine-tunes a keras-hub Gemma 3 backbone with LoRA; the backbone is changed in place.

    trainer = GemmaTrainer(backbone, lora_config, training_config)
    result = trainer.fit(train_rows, validation_rows)
    """

    def __init__(self, backbone: keras.Model, lora: LoRAConfig, config: TrainingConfig) -> None:
        import_tensorflow()  # Keras seeds it, too; without this it would take a GPU's memory
        keras.utils.set_random_seed(config.seed)
        self.config = config
        self.adapters = apply_lora(backbone, lora, seed=config.seed)
        self.model = SupervisedModel(
            backbone, config.gradient_accumulation_steps, config.rematerialization
        )
        self._step_rows = config.batch_size * config.gradient_accumulation_steps

    def fit(
        self,
        train: PackedRows,
        validation: PackedRows | None,
        file: RunFile | None = None,
        log_file: str | Path | None = None,
    ) -> TrainingResult:
        """Trains for `epochs` or `max_steps`, whichever ends first.

        Validates before the first epoch and after each. With a `file`, saves checkpoints there and
        resumes from the one that an earlier run left. With a `log_file`, writes the log there as
        training goes. UserError if the loss is not finite. Ctrl-C ends it after a step, with a
        checkpoint: KeyboardInterrupt.
        """
        config = self.config
        if config.early_stopping_patience and not validation:
            raise UserError(
                "train.early_stopping_patience: there is no validation loss to wait for; "
                "set it to null"
            )
        steps = self._count_steps(train)
        self.model.compile(optimizer=make_optimizer(config, steps), jit_compile=True)

        held_out = None
        if validation:
            held_out = Batches(validation, config.batch_size, share=share_of_batch())
        best, memory = LoRASave(self.adapters), MemoryMonitor()
        with StopOnInterrupt() as interrupt:
            log = MetricsLogger(cosine_schedule(config, steps))
            state = []
            if file:
                state.append(self._restored_state(file, best, log))
                interrupt.save = state[0].save
            if held_out and log.base_loss is None:
                log.base_loss = log.val_loss = self._validate_base(held_out, interrupt)
            if log_file and is_first_process():
                log.open(log_file)

            tokens_per_step = self._step_rows * train.length
            shown = Progress(steps, len(log.rows), tokens_per_step, log.val_loss)
            with closing(log), closing(shown) as progress:
                for epoch, batches in self._epochs(train, steps, best, log):
                    stop = StopOnNaN(batches, len(log.rows))
                    self.model.fit(
                        as_dataset(batches),
                        initial_epoch=epoch,
                        epochs=epoch + 1,
                        validation_data=as_dataset(held_out) if held_out else None,
                        shuffle=False,
                        verbose=0,
                        callbacks=[stop, best, log, progress, memory, *state, interrupt],
                    )

        if is_first_process():
            print(f"peak memory: {memory}")
        metrics = self._metrics(train, log, best)
        return TrainingResult(weights=best.weights, log=log, metrics=metrics)

    def _validate_base(self, held_out: Batches, interrupt: StopOnInterrupt) -> float:
        """The validation loss before training."""
        with closing(ValidationProgress(len(held_out), "validate the base")) as shown:
            found = self.model.evaluate(
                as_dataset(held_out), verbose=0, return_dict=True, callbacks=[shown, interrupt]
            )
        return found["loss"]

    def _epoch_steps(self, train: PackedRows) -> int:
        return -(-len(train) // self._step_rows)

    def _count_steps(self, train: PackedRows) -> int:
        in_epochs = self._epoch_steps(train) * self.config.epochs if self.config.epochs else None
        return min(limit for limit in (in_epochs, self.config.max_steps) if limit)

    def _epochs(
        self, train: PackedRows, steps: int, best: LoRASave, log: MetricsLogger
    ) -> Iterator[tuple[int, Batches]]:
        """(epoch counted from 0, its batches), from where the log ends.

        Until `steps` are done, or the patience is used up.
        """
        epoch_steps, patience = self._epoch_steps(train), self.config.early_stopping_patience
        while (done := len(log.rows)) < steps:
            epoch, start = divmod(done, epoch_steps)
            if patience and epoch - best.best_epoch >= patience:
                break
            yield (
                epoch,
                Batches(
                    train,
                    self._step_rows,
                    self.config.seed,
                    epoch=epoch + 1,
                    start=start,
                    stop=min(epoch_steps, steps - epoch * epoch_steps),
                    share=share_of_batch(),
                ),
            )

    def _restored_state(self, file: RunFile, best: LoRASave, log: MetricsLogger) -> SaveState:
        """The callback that saves checkpoints, after it has restored the last one."""
        self.model.optimizer.build(self.model.trainable_variables)
        variables = [*self.model.trainable_variables, *self.model.optimizer.variables]
        for layer in self.adapters.values():
            if layer.seed_generator:
                variables.append(layer.seed_generator.state)

        every = self.config.save_every_steps, self.config.save_every_minutes
        state = SaveState(file, *every, variables, best, log)
        restored = state.restore()
        check_same_everywhere(str(len(log.rows)), f"what {file.path.parent}/ holds")
        if restored and is_first_process():
            print(f"goes on after step {len(log.rows)} of a run that was stopped", file=sys.stderr)
        return state

    def _metrics(self, train: PackedRows, log: MetricsLogger, best: LoRASave) -> dict[str, float]:
        """What metrics/train.json says of the run."""
        filled = train.count_tokens() / (len(train) * train.length)
        weights = adapter_weights(self.adapters)
        metrics = {
            "steps": len(log.rows),
            "loss": log.rows[-1][2],
            "supervised_tokens": sum(row[-1] for row in log.rows),
            "padding_fraction": round(1 - filled, 4),
            "trainable_parameters": sum(array.size for array in weights.values()),
        }
        if log.base_loss is not None:
            metrics |= {
                "base_val_loss": round(log.base_loss, 5),
                "val_loss": round(best.best, 5),
                "best_epoch": best.best_epoch,
            }
        return metrics
