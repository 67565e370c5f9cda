"""The data section of params.yaml."""

import pytest

from gemma_finetune.config import load_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.repair import REPAIRS
from gemma_finetune.utils.errors import UserError


def test_the_repository_s_own_values(write_params):
    write_params({})
    loses_text = {"cut_at_empty", "drop_leading_assistant"}
    config = load_section("data", DataConfig)
    assert config.repairs == tuple(name for name in REPAIRS if name not in loses_text)
    assert config.columns == {} and config.reasoning == "refuse"


def test_all_repairs_can_be_allowed(write_params):
    write_params({"data.repairs": list(REPAIRS)})
    assert load_section("data", DataConfig).repairs == tuple(REPAIRS)


def test_columns_are_read(write_params):
    columns = {"user": "q", "assistant": "a", "system": "s", "split": "fold", "input": "i"}
    write_params({"data.columns": columns})
    assert load_section("data", DataConfig).columns == columns


@pytest.mark.parametrize("changes, message", [
    ({"data.repairs": ["guess"]}, "data.repairs.0"),
    ({"data.format": "csv"}, "data.format"),
    ({"data.dedup_threshold": 0}, "data.dedup_threshold"),
    ({"data.max_lost_fraction": 1.5}, "data.max_lost_fraction"),
    ({"data.test_fraction": 0.5, "data.validation_fraction": 0.5}, "leave rows to train on"),
    ({"data.columns": {"human": "q"}}, "data.*'human' is no name for a column; known are user"),
    ({"data.columns": {"user": "q"}}, "both user and assistant"),
    ({"data.columns": {"user": "q", "assistant": "q"}}, "one column twice"),
    ({"data.columns": {"user": "q", "assistant": "a", "messages": "m"}}, "either messages"),
    ({"data.columns": {"system": ""}}, "data.columns.system"),
    ({"data.columns": {"system": 5}}, "data.columns.system"),
    ({"data.columns": ["q"]}, "data.columns"),
    ({"data.reasoning": "think"}, "data.reasoning"),
    ({"data.overlong": "cut"}, "data.overlong"),
])  # fmt: skip
def test_wrong_values_are_named(write_params, changes, message):
    write_params(changes)
    with pytest.raises(UserError, match=message):
        load_section("data", DataConfig)


@pytest.mark.parametrize("changes, found", [
    ({"data.columns": {"human": "q"}}, "data.columns: .*; found {'human': 'q'}"),
    ({"data.columns": {"user": "q"}}, "data.columns: must name both .*; found {'user': 'q'}"),
    ({"data.test_fraction": 0.6, "data.validation_fraction": 0.5}, "data.test_fraction: .* 0.6"),
])  # fmt: skip
def test_only_the_wrong_value_is_shown(write_params, changes, found):
    write_params(changes)
    with pytest.raises(UserError, match=f"^params.yaml: {found}$"):
        load_section("data", DataConfig)
