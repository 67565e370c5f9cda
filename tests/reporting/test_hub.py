"""The model card's header as the Hub's own library reads it. Nothing leaves this machine."""

import pytest
import yaml
from huggingface_hub import ModelCard

from gemma_finetune.reporting.hub import header

ROWS = [
    {"rung": rung, "exact_match": value}
    for rung, value in (
        ("base", 0.0),
        ("merged", 0.88812),
        ("tflite_int8", 0.88),
        ("task_int8", 0.884),
        ("litertlm_int8", 0.88448),
        ("litertlm_int4", None),
    )
]


def read(preset):
    return ModelCard(header(preset, ROWS, "exact_match") + "\n\n# Model card\n").data


def test_the_hub_reads_licence_library_and_task():
    card = read("tiny")
    assert (card.license, card.library_name) == ("apache-2.0", "litert-lm")
    assert card.pipeline_tag == "text-generation"
    assert "gemma3" in card.tags and card.metrics == ["exact_match"]
    assert card.base_model is None


def test_the_hub_reads_the_exact_match_of_what_can_be_downloaded():
    results = {result.metric_name: result.metric_value for result in read("tiny").eval_results}
    assert results == {"merged": 0.8881, "task_int8": 0.884, "litertlm_int8": 0.8845}
    assert {result.metric_type for result in read("tiny").eval_results} == {"exact_match"}


@pytest.mark.parametrize(
    "preset, base, name",
    [
        ("hf://google/gemma-3-270m-it", "google/gemma-3-270m-it", "gemma-3-270m-it-lora"),
        ("hf://google/gemma-3-1b-it@v1", "google/gemma-3-1b-it", "gemma-3-1b-it-lora"),
        ("hf://me/2025", "me/2025", "2025-lora"),
        ("hf://me/2025@v1/2", "me/2025", "2025-lora"),
        ("gemma3_instruct_1b", None, "gemma3_instruct_1b-lora"),
        ("kaggle://keras/gemma3/keras/gemma3_1b", None, "gemma3_1b-lora"),
        ("kaggle://keras/gemma3/keras/gemma3_1b/3", None, "gemma3_1b-lora"),
        ("kaggle://me/gemma3/keras/270/3", None, "270-lora"),
        ("kaggle://me/gemma3/keras/270", None, "270-lora"),
        ("/models/my gemma: 3/", None, "my gemma: 3-lora"),
        ("/models/gemma@home", None, "gemma@home-lora"),
    ],
)
def test_a_real_gemma_has_its_licence_and_names_its_base_if_the_hub_has_it(preset, base, name):
    card = read(preset)
    assert (card.license, card.base_model, card.model_name) == ("gemma", base, name)


def test_the_header_is_plain_yaml_between_two_lines():
    first, *lines, last = header("tiny", ROWS, "exact_match").splitlines()
    assert first == last == "---"
    assert yaml.safe_load("\n".join(lines))["license"] == "apache-2.0"
