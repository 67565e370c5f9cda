import pytest

from gemma_finetune.config import load_section
from gemma_finetune.figures.choose import TASKS
from gemma_finetune.reporting import config
from gemma_finetune.reporting.config import CheckConfig
from gemma_finetune.utils.errors import UserError


def test_the_committed_parameters_load(write_params):
    write_params({})
    loaded = load_section("check", CheckConfig)
    assert set(loaded.max_kl) >= {"int8", "int4"}
    assert set(loaded.max_score_loss) >= {"int8", "int4"}


def test_a_threshold_from_the_command_line_may_be_written_with_an_exponent(write_params):
    write_params({"check.max_logit_diff": "1e-05", "check.max_kl": {"int8": "2e-3"}})
    loaded = load_section("check", CheckConfig)
    assert (loaded.max_logit_diff, loaded.max_kl) == (1e-5, {"int8": 2e-3})


def test_every_task_may_have_a_threshold():
    assert sorted(config.TASKS) == sorted(task.name for task in TASKS)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("check.min_score", {"exact": 1.5}, "check.min_score.exact: .*less than or equal to 1"),
        ("check.min_score", {"exact": 0.9, "chrf": 0.3}, "check.min_score: no task chrf; .* text"),
        ("check.max_kl", {"int8": 0}, "check.max_kl.int8: .*greater than 0"),
        ("check.max_kl", 0.1, "check.max_kl: "),
        ("check.max_kl_int8", 0.1, "check.max_kl_int8: no such parameter"),
    ],
)
def test_a_value_out_of_range_is_named(write_params, key, value, message):
    write_params({key: value})
    with pytest.raises(UserError, match=message):
        load_section("check", CheckConfig)
