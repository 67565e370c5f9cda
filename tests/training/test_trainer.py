import csv
import sys
from contextlib import contextmanager
from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

import train
from gemma_finetune.models.loader import load_gemma_model
from gemma_finetune.training.callbacks import MetricsLogger, StopOnNaN
from gemma_finetune.training.data_pipeline import Batches, pack
from gemma_finetune.training.examples import Example
from gemma_finetune.training.trainer import GemmaTrainer
from gemma_finetune.utils.errors import UserError
from lora_settings import lora_config

pytestmark = pytest.mark.slow

LORA = lora_config()


def make_rows(count, seed):
    rng = np.random.default_rng(seed)
    start = rng.integers(10, 60, (count, 1))
    ids = (start + np.arange(20)).astype("int32")  # count upwards: easy to learn
    return pack([Example(row, np.arange(20) > 5) for row in ids], 64)


@pytest.fixture(scope="module")
def fit(base_dir, train_config):
    """Trains with changed settings.

    `again` asks for a second run with the same settings, as where TensorFlow is not installed.
    """

    @cache
    def run(dtype="float32", lora=LORA, again=False, log_file=None, **changes):
        settings = dict(
            epochs=3, batch_size=4, sequence_length=64, warmup_steps=2, learning_rate=0.01
        )
        config = train_config(**settings | changes)
        trainer = GemmaTrainer(load_gemma_model(base_dir, dtype=dtype), lora, config)
        with pytest.MonkeyPatch.context() as patch:
            if again:
                patch.setitem(sys.modules, "tensorflow", None)
            return trainer.fit(make_rows(48, 0), make_rows(9, 1), log_file=log_file)

    return run


def test_it_learns_counts_and_logs_each_step(fit, tmp_path, capfd):
    result = fit(log_file=tmp_path / "metrics" / "log.csv")
    assert result.metrics["val_loss"] < result.metrics["base_val_loss"] - 0.5
    assert result.metrics["steps"] == 12
    assert result.metrics["supervised_tokens"] == 3 * 48 * 14
    assert result.metrics["trainable_parameters"] == sum(a.size for a in result.weights.values())
    rows = list(csv.DictReader((tmp_path / "metrics" / "log.csv").open()))
    assert [row["step"] for row in rows] == [str(n) for n in range(1, 13)]
    for name in ("loss", "val_loss", "learning_rate", "grad_norm", "tokens"):
        assert all(float(row[name]) >= 0 for row in rows), name
    shown = capfd.readouterr().err
    assert "validate the base" in shown and "train on cpu" in shown and "nan" not in shown


def test_the_log_is_on_disk_after_each_step(tmp_path):
    log = MetricsLogger(lambda step: 0.1)
    log.rows = [(1, 1, 9.0, "", 0.1, 1.0, 5)]  # of an earlier process
    log.open(tmp_path / "log.csv")
    log.on_train_batch_end(0, {"loss": 8.0, "grad_norm": 1.0, "tokens": 5})
    assert (tmp_path / "log.csv").read_text().splitlines() == [
        "step,epoch,loss,val_loss,learning_rate,grad_norm,tokens",
        "1,1,9.0,,0.1,1.0,5",
        "2,0,8.0,,0.1,1.0,5",
    ]
    (tmp_path / "log.csv").rename(tmp_path / "stashed")  # and back: `dvc exp run --queue`
    (tmp_path / "log.csv").write_text("an older run's")
    log.on_train_batch_end(1, {"loss": 7.0, "grad_norm": 1.0, "tokens": 5})
    log.close()
    assert (tmp_path / "log.csv").read_text().splitlines()[1:] == [
        "1,1,9.0,,0.1,1.0,5",
        "2,0,8.0,,0.1,1.0,5",
        "3,0,7.0,,0.1,1.0,5",
    ]


def test_the_same_seed_gives_the_same_adapter_to_the_bit_and_another_does_not(fit, tmp_path):
    """With batches from tf.data, and with numpy alone."""
    first, other = as_bytes(fit()), as_bytes(fit(seed=1))
    with nothing_compiled_yet(tmp_path):
        again = as_bytes(fit(again=True))
    assert first == again != other


@contextmanager
def nothing_compiled_yet(folder):
    """XLA compiles everything anew in here: JAX looks into an empty folder for what is compiled."""
    before = jax.config.jax_compilation_cache_dir
    keep_compiled_in(str(folder))
    try:
        yield
    finally:
        keep_compiled_in(before)


def keep_compiled_in(folder):
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()


def as_bytes(result):
    return {name: array.tobytes() for name, array in result.weights.items()}


def test_max_steps_ends_within_an_epoch(fit):
    assert fit(max_steps=5).metrics["steps"] == 5


def test_a_bfloat16_base_learns_too(fit):
    result = fit(dtype="bfloat16")
    assert result.metrics["val_loss"] < result.metrics["base_val_loss"] - 0.5


def test_steps_alone_can_say_how_long(fit):
    assert fit(epochs=None, max_steps=13).metrics["steps"] == 13


def test_it_stops_early_when_the_validation_loss_no_longer_falls(fit):
    too_low = 1e-30  # to change anything
    metrics = fit(learning_rate=too_low, early_stopping_patience=1).metrics
    assert (metrics["best_epoch"], metrics["steps"]) == (1, 2 * 4)


def test_an_adapter_that_is_no_better_than_the_base_is_refused():
    better = {"base_val_loss": 2.59, "val_loss": 2.58, "best_epoch": 1}
    train.refuse_useless(better)
    train.refuse_useless({"loss": 3.0})  # without validation rows, nothing says so
    for loss in (2.59, 3.95):
        with pytest.raises(UserError, match=f"no better than the base: .* 2.59 .*, {loss} after"):
            train.refuse_useless(better | {"val_loss": loss})


def test_a_batch_that_no_machine_holds_is_refused_by_its_key(base_dir, train_config, monkeypatch):
    monkeypatch.setattr(train, "BASE", base_dir)
    monkeypatch.setattr(train, "available_memory", lambda: 8e9)
    train.check_room("float32", train_config(batch_size=64, sequence_length=1024))
    with pytest.raises(
        UserError, match="^train.batch_size: .* GB .*: set it to auto, or to "
    ) as at:
        train.check_room("float32", train_config(batch_size=10**8, sequence_length=1024))
    most = int(str(at.value).split("or to ")[1].split()[0])
    train.check_room("float32", train_config(batch_size=most, sequence_length=1024))


def test_early_stopping_without_validation_is_refused(base_dir, train_config):
    trainer = GemmaTrainer(
        load_gemma_model(base_dir), LORA, train_config(early_stopping_patience=1)
    )
    with pytest.raises(UserError, match="early_stopping_patience: there is no validation loss"):
        trainer.fit(make_rows(4, 0), None)


def test_accumulated_small_batches_train_as_one_large_one(fit):
    whole, parts = fit().log.rows, fit(batch_size=2, gradient_accumulation_steps=2).log.rows
    assert [row[-1] for row in whole] == [row[-1] for row in parts]
    np.testing.assert_allclose([row[2] for row in parts], [row[2] for row in whole], rtol=1e-3)


def test_a_broken_loss_stops_the_run_and_says_at_which_step_and_on_which_rows(fit):
    lines = r"(\d+, ){11}\d+"  # 4 rows of 3 conversations
    with pytest.raises(
        UserError,
        match=rf"loss is nan at step 2, on lines {lines} of data/formatted/train.jsonl; low",
    ):
        fit(learning_rate=1e30)


@pytest.mark.parametrize(
    ("logs", "says"), [((np.inf, 1), "loss is inf"), ((1, np.nan), "gradient norm is nan")]
)
def test_a_broken_gradient_is_as_bad(logs, says):
    stop = StopOnNaN(Batches(make_rows(6, 0), 1), steps_before=10)
    stop.on_train_batch_end(0, {"loss": 1.0, "grad_norm": 1.0})
    with pytest.raises(UserError, match=f"{says} at step 12, on lines 4, 5, 6 of"):
        stop.on_train_batch_end(1, dict(zip(("loss", "grad_norm"), logs, strict=True)))


def test_dropout_acts_in_training_from_its_seed(fit):
    lora = replace(LORA, dropout=0.3)
    plain, first, again = fit(), fit(lora=lora), fit(lora=lora, again=True)
    assert as_bytes(first) == as_bytes(again)
    assert first.metrics["base_val_loss"] == plain.metrics["base_val_loss"]  # none in evaluation
    assert first.metrics["loss"] != plain.metrics["loss"]
    assert first.metrics["val_loss"] < first.metrics["base_val_loss"] - 0.5


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_it_learns_through_the_rounding(fit, dtype):
    aware = replace(LORA, quantization_aware=True, targets=("q_proj", "v_proj", "down_proj"))
    first, again = fit(dtype, lora=aware), fit(dtype, lora=aware, again=True)
    assert first.metrics["val_loss"] < first.metrics["base_val_loss"] - 0.5
    assert as_bytes(first) == as_bytes(again)
