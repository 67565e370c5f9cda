import pytest

from gemma_finetune.config import load_section
from gemma_finetune.evaluation.config import EvaluateConfig
from gemma_finetune.utils.errors import UserError


def test_the_committed_parameters_load(write_params):
    write_params({})
    assert load_section("evaluate", EvaluateConfig).max_tokens >= 1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("evaluate.max_examples", 0, "evaluate.max_examples: .*greater than or equal to 1"),
        ("evaluate.task", "essay", "evaluate.task: .*'auto', 'calls', 'exact', 'json' or 'text'"),
        ("evaluate.max_answers", 0, "evaluate.max_answers: .*greater than or equal to 1"),
        ("evaluate.max_token", 5, "evaluate.max_token: no such parameter"),
    ],
)
def test_a_value_out_of_range_is_named(write_params, key, value, message):
    write_params({key: value})
    with pytest.raises(UserError, match=message):
        load_section("evaluate", EvaluateConfig)
