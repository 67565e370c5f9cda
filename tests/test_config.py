import shutil
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides

from gemma_finetune.config import load_quantizations, load_section
from gemma_finetune.inference.config import GenerateConfig
from gemma_finetune.models.config import LoRAConfig, ModelConfig
from gemma_finetune.training.config import TrainingConfig
from gemma_finetune.utils.errors import UserError
from imports import ROOT

PARAMS = str(ROOT / "params.yaml")


def test_the_defaults_are_the_papers():
    config = load_section("lora", LoRAConfig, PARAMS)
    assert (config.rank, config.alpha, config.targets) == (8, 16, ("q_proj", "v_proj"))
    assert (config.scale, config.dropout) == (2, 0)


@pytest.mark.parametrize("value", ["all-linear", ["all-linear"]])
def test_all_linear_is_every_projection(write_params, value):
    config = load_section("lora", LoRAConfig, str(write_params({"lora.targets": value})))
    assert config.targets == (
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    )


def test_a_config_is_frozen():
    with pytest.raises(FrozenInstanceError):
        load_section("lora", LoRAConfig, PARAMS).rank = 4


def test_scientific_notation_that_yaml_reads_as_text_is_a_number(write_params):
    path = write_params({"train.learning_rate": "1e-05"})
    assert load_section("train", TrainingConfig, str(path)).learning_rate == 1e-5


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("lora.rnak", 3, "lora.rnak: no such parameter"),
        ("lora.rank", 0, "lora.rank: input should be greater than or equal to 1; found 0"),
        ("lora.rank", "eight", "lora.rank: .*found 'eight'"),
        ("lora.rank", 8.5, "lora.rank: .*found 8.5"),
        ("lora.rank", True, "lora.rank: .*found True"),
        ("lora.targets", ["q_proj", "qproj"], "lora.targets"),
        ("lora.targets", "q_proj", "lora.targets"),
        ("lora.targets", [], "lora.targets"),
        ("lora.targets", ["all-linear", "q_proj"], "lora.targets"),
        ("lora.dropout", 1.0, "lora.dropout: .*found 1"),
        ("lora.use_rslora", "yes", "lora.use_rslora"),
    ],
)
def test_a_bad_value_is_refused_by_key(write_params, key, value, says):
    path = write_params({key: value})
    with pytest.raises(UserError, match=says):
        load_section("lora", LoRAConfig, str(path))


def test_float16_is_refused_with_the_reason(write_params):
    path = write_params({"model.dtype": "float16"})
    with pytest.raises(
        UserError, match="model.dtype: activations of Gemma 3 overflow in float16; use bfloat16"
    ):
        load_section("model", ModelConfig, str(path))


@pytest.mark.parametrize("seed", [-1, 2**32])
@pytest.mark.parametrize(
    ("section", "cls"),
    [("model", ModelConfig), ("train", TrainingConfig), ("generate", GenerateConfig)],
)
def test_a_seed_is_one_that_numpy_takes(write_params, section, cls, seed):
    path = write_params({f"{section}.seed": seed})
    with pytest.raises(UserError, match=f"{section}.seed: input should be .* than"):
        load_section(section, cls, str(path))


def test_something_must_end_the_training(write_params):
    path = write_params({"train.epochs": None, "train.max_steps": None})
    with pytest.raises(
        UserError,
        match="train.max_steps: set this or train.epochs, so that training ends; found None",
    ):
        load_section("train", TrainingConfig, str(path))


def test_a_missing_key_and_a_missing_file_are_named(tmp_path):
    path = tmp_path / "params.yaml"
    with pytest.raises(UserError, match="cannot be read"):
        load_section("lora", LoRAConfig, str(path))
    path.write_text("lora: {rank: 8, alpha: 16}")
    with pytest.raises(UserError, match="lora.targets: missing"):
        load_section("lora", LoRAConfig, str(path))
    path.write_text("lora: [unclosed")
    with pytest.raises(UserError, match="not valid YAML"):
        load_section("lora", LoRAConfig, str(path))


def test_the_quantizations_can_be_read_alone(write_params):
    path = write_params({"export.quantizations": ["int8", "own"], "export.cache_length": "wrong"})
    assert load_quantizations(str(path)) == ("int8", "own")


@pytest.mark.parametrize("value", [[], None, "int8", [8], {"int8": True}])
def test_quantizations_of_another_type_are_refused_by_key(write_params, value):
    path = write_params({"export.quantizations": value})
    with pytest.raises(UserError, match="params.yaml: export.quantizations"):
        load_quantizations(str(path))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not a mapping of sections; restore it from Git"),
        (b"- lora\n", "not a mapping of sections"),
        (b"lora: 8\n", "section `lora` is missing; restore it from Git"),
        (b"train: {}\n", "section `lora` is missing"),
        (b"lora: {rank: 2024-13-45}\n", "not valid YAML"),
        (b"lora: {rank: \xff}\n", "not valid YAML"),
    ],
)
def test_a_file_of_another_form_is_refused(tmp_path, content, says):
    path = tmp_path / "params.yaml"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"params.yaml: {says}"):
        load_section("lora", LoRAConfig, str(path))


def test_an_experiment_changes_one_line(tmp_path):
    """DVC writes the whole file anew: it is in DVC's form, so that no comment goes."""
    before = Path(PARAMS).read_text(encoding="utf-8").splitlines()
    shutil.copy(PARAMS, tmp_path)
    apply_overrides(str(tmp_path / "params.yaml"), ["lora.rank=16"])
    after = (tmp_path / "params.yaml").read_text(encoding="utf-8").splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert changed == [("  rank: 8", "  rank: 16")]
