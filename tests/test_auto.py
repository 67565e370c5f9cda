"""What `auto` becomes: for the committed run, for a real Gemma, and beside values of one's own."""

import json
import runpy

import pytest

from gemma_finetune import auto
from gemma_finetune.auto import AUTO, KEYS, Lengths, choose, sequence_length
from gemma_finetune.config import load_section
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.utils.errors import UserError
from gemma_finetune.utils.params import read_params
from imports import ROOT, SCRIPTS
from parameters import PARAMS

TINY = auto.read_base(
    {
        "vocab_size": 2048,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 128,
        "num_hidden_layers": 6,
        "max_position_embeddings": 32768,
        "sliding_window": 64,
    }
)
GEMMA_270M = {
    "vocab_size": 262144,
    "hidden_size": 640,
    "intermediate_size": 2048,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
    "head_dim": 256,
    "num_hidden_layers": 18,
    "max_position_embeddings": 32768,
    "sliding_window": 512,
}
REAL = auto.read_base(GEMMA_270M)
GEMMA_1B = auto.read_base(
    GEMMA_270M | {"hidden_size": 1152, "intermediate_size": 6912, "num_hidden_layers": 26}
)


def chosen(base, lengths, **changes):
    params = {name: dict(values) for name, values in read_params(PARAMS).items() if name in KEYS}
    for key, value in changes.items():
        section, _, name = key.partition("_")
        params[section][name] = value
    return choose(params, base, lengths)


def test_the_committed_run_has_what_the_rules_make_of_its_base_and_data():
    found = chosen(TINY, Lengths(sequence_length=160, longest_answer=27, usual_answer=27))
    assert found == json.loads((ROOT / "metrics/settings.json").read_text())
    assert found == {
        "model": {"dtype": "float32"},
        "train": {
            "learning_rate": 0.015,
            "sequence_length": 160,
            "batch_size": 4,
            "gradient_accumulation_steps": 1,
        },
        "export": {"cache_length": 512, "prefill_lengths": [8, 128], "calibration_tokens": 1024},
        "evaluate": {"max_positions": 6000, "max_answers": 300, "max_tokens": 96},
    }


def test_a_real_gemma_on_ordinary_text():
    assert chosen(REAL, Lengths(sequence_length=512, longest_answer=300, usual_answer=300)) == {
        "model": {"dtype": "bfloat16"},
        "train": {
            "learning_rate": 0.0002,
            "sequence_length": 512,
            "batch_size": 4,
            "gradient_accumulation_steps": 1,
        },
        "export": {
            "cache_length": 1536,
            "prefill_lengths": [8, 128, 512],
            "calibration_tokens": 1024,
        },
        "evaluate": {"max_positions": 3000, "max_answers": 12, "max_tokens": 480},
    }


@pytest.mark.parametrize(("tokens", "answers"), [(20, 150), (96, 64), (384, 16), (10_000, 1)])
def test_a_real_gemma_gives_fewer_answers_where_they_may_be_longer(tokens, answers):
    for base, wanted in ((REAL, answers), (TINY, 300)):
        found = chosen(base, Lengths(256, 20, 20), evaluate_max_tokens=tokens)
        assert found["evaluate"]["max_answers"] == wanted


def test_one_long_answer_gets_room_in_the_cache_and_does_not_take_the_time_of_all():
    rare, usual = Lengths(256, 1400, 60), Lengths(256, 60, 60)
    assert chosen(REAL, rare)["evaluate"] == chosen(REAL, usual)["evaluate"]
    assert chosen(REAL, rare)["export"]["cache_length"] >= 2 * 256 + 1400


def test_sizes_are_those_of_the_published_models():
    assert REAL.parameters == pytest.approx(268e6, rel=0.01)
    assert GEMMA_1B.parameters == pytest.approx(1e9, rel=0.01)


@pytest.mark.parametrize(("tokens", "measured_gb"), [(512, 3.4), (2048, 4.6)])
def test_the_memory_of_training_is_that_of_the_benchmarks(tokens, measured_gb):
    estimate = auto.training_memory(REAL, "bfloat16", tokens) / 1e9
    assert estimate == pytest.approx(measured_gb, rel=0.05)


@pytest.mark.parametrize(
    ("base", "rows", "memory_gb", "batch", "passes"),
    [
        (REAL, 256, 8, 8, 1),
        (REAL, 2048, 8, 1, 1),
        (REAL, 512, 3.5, 1, 4),  # a step reads as many tokens, in less memory
        (GEMMA_1B, 512, 8, 1, 4),
        (GEMMA_1B, 512, 12, 2, 2),
        (REAL, 2048, 1, 1, 1),  # one row at least
    ],
)
def test_the_batch_fits_the_memory(base, rows, memory_gb, batch, passes):
    found = chosen(base, Lengths(rows, 20, 20), train_memory_gb=memory_gb)["train"]
    assert (found["batch_size"], found["gradient_accumulation_steps"]) == (batch, passes)


def test_a_value_of_ones_own_wins_and_the_others_follow_it():
    found = chosen(REAL, Lengths(256, 20, 20), train_batch_size=2, export_cache_length=100)
    assert found["train"]["batch_size"] == 2
    assert found["train"]["gradient_accumulation_steps"] == 4
    assert found["export"]["cache_length"] == 100
    assert found["export"]["prefill_lengths"] == [8]
    found = chosen(REAL, Lengths(256, 20, 20), train_gradient_accumulation_steps=2)
    assert found["train"]["batch_size"] == 8  # a larger step in the same memory


def test_the_cache_holds_the_evaluations_probe_and_does_not_follow_its_answers():
    labels = Lengths(sequence_length=128, longest_answer=5, usual_answer=5)
    assert chosen(REAL, labels)["export"]["cache_length"] == 768  # 512 of the window, and more
    longer = chosen(REAL, labels, evaluate_max_tokens=2000)
    assert longer["export"] == chosen(REAL, labels)["export"]


@pytest.mark.parametrize(
    ("quantizations", "tokens"),
    [(["int8"], 0), (["int8", "int4_embedding"], 0), (["int8", "int4"], 1024), (["mine"], 1024)],
)
def test_weights_are_scaled_only_where_a_recipe_gains_by_it(quantizations, tokens):
    found = chosen(REAL, Lengths(256, 20, 20), export_quantizations=quantizations)
    assert found["export"]["calibration_tokens"] == tokens
    given = chosen(REAL, Lengths(256, 20, 20), export_calibration_tokens=64)
    assert given["export"]["calibration_tokens"] == 64


@pytest.mark.parametrize(
    ("tokens", "length"),
    [
        ([140] * 99 + [900], 160),  # 99 % of the rows
        ([140] * 98 + [900] * 2, 928),
        ([10, 12], 128),
        ([5000] * 10, 2048),
        ([], 128),
    ],
)
def test_the_sequence_length_keeps_99_percent_within_limits(tokens, length):
    assert sequence_length(tokens) == length


def test_every_row_is_kept_if_none_may_be_lost():
    assert sequence_length([140] * 99 + [900], share=1.0) == 928


@pytest.fixture
def stage(write_params):
    """Runs scripts/settings.py on the 270M's config and rows of 512 tokens, with changes."""

    def run(longest_answer=300, **changes):
        defaults = {f"{section}.{key}": AUTO for section, keys in KEYS.items() for key in keys}
        folder = write_params(defaults | changes).parent
        for name, content in {
            "models/base/config.json": GEMMA_270M,
            "data/formatted/lengths.json": {
                "sequence_length": 512,
                "longest_answer": longest_answer,
                "usual_answer": longest_answer,
            },
        }.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(json.dumps(content))
        runpy.run_path(str(SCRIPTS / "settings.py"))["main"]()
        return json.loads((folder / "metrics/settings.json").read_text())

    return run


def test_the_stage_writes_and_prints_what_auto_became_and_later_stages_read_it(stage, capsys):
    written = stage(**{"train.learning_rate": "1e-05", "export.prefill_lengths": [64]})
    assert written["train"]["learning_rate"] == 1e-5
    said = capsys.readouterr().out
    assert "train.sequence_length: 512 (auto)" in said and "train.learning_rate: 1e-05\n" in said
    config = load_section("train", TrainingConfig)
    assert (config.learning_rate, config.sequence_length, config.batch_size) == (1e-5, 512, 4)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("train.batch_size", "many", "params.yaml: train.batch_size: .*found 'many'"),
        ("train.memory_gb", AUTO, "train.memory_gb"),
        ("train.seed", AUTO, "train.seed"),
        ("export.cache_length", 40_000, "40000 is more than the 32768 positions of the model"),
        ("export.prefill_lengths", [8, 5000], "5000 leaves no room to answer"),
        ("export.quantizations", ["int8", "in4"], "no recipe scripts/recipes/in4.json; .*int4_emb"),
        ("export.quantizations", ["INT8"], "no recipe scripts/recipes/INT8.json; there are int4,"),
        ("export.quantizations", ["int8", "int4", "int8"], "names int8 twice"),
    ],
)
def test_the_stage_refuses_what_would_fail_after_training(stage, key, value, says):
    with pytest.raises(UserError, match=says):
        stage(**{key: value})


def test_a_test_split_without_answers_is_refused_before_training(stage):
    with pytest.raises(UserError, match="the test split has no answer to score"):
        stage(longest_answer=0)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_without_the_file_auto_is_refused_by_name(write_params, content):
    path = write_params({"train.batch_size": AUTO})
    if content:
        (path.parent / "metrics").mkdir()
        (path.parent / "metrics/settings.json").write_text(content)
    message = "train.batch_size: metrics/settings.json does not say what auto is; run `dvc repro se"
    with pytest.raises(UserError, match=message):
        load_section("train", TrainingConfig)
