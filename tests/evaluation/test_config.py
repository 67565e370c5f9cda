import pytest

from gemma_finetune.config import load_section
from gemma_finetune.evaluation.config import CheckConfig, EvaluateConfig
from gemma_finetune.utils.cli import UserError


def test_the_committed_parameters_load(write_params):
    write_params({})
    assert load_section("evaluate", EvaluateConfig).max_tokens >= 1
    assert set(load_section("check", CheckConfig).max_kl) >= {"int8", "int4"}


def test_a_threshold_from_the_command_line_may_be_written_with_an_exponent(write_params):
    write_params({"check.max_logit_diff": "1e-05", "check.max_kl": {"int8": "2e-3"}})
    config = load_section("check", CheckConfig)
    assert (config.max_logit_diff, config.max_kl) == (1e-5, {"int8": 2e-3})


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("check.min_exact_match", 1.5, "check.min_exact_match: .*less than or equal to 1"),
        ("check.max_kl", {"int8": 0}, "check.max_kl.int8: .*greater than 0"),
        ("check.max_kl", 0.1, "check.max_kl: "),
        ("evaluate.max_examples", 0, "evaluate.max_examples: .*greater than or equal to 1"),
        ("evaluate.max_token", 5, "evaluate.max_token: no such parameter"),
    ],
)
def test_a_value_out_of_range_is_named(write_params, key, value, message):
    write_params({key: value})
    with pytest.raises(UserError, match=message):
        load_section(key.split(".")[0], CheckConfig if key.startswith("check") else EvaluateConfig)
