"""The data section of params.yaml."""

import pytest

from gemma_finetune.config import load_section
from gemma_finetune.data.config import DataConfig
from gemma_finetune.data.repair import REPAIRS
from gemma_finetune.utils.cli import UserError


def test_the_repository_s_own_values(write_params):
    write_params({})
    assert load_section("data", DataConfig).repairs == tuple(REPAIRS)


@pytest.mark.parametrize("changes, message", [
    ({"data.repairs": ["guess"]}, "data.repairs.0"),
    ({"data.format": "csv"}, "data.format"),
    ({"data.dedup_threshold": 0}, "data.dedup_threshold"),
    ({"data.max_rejected_fraction": 1.5}, "data.max_rejected_fraction"),
    ({"data.test_fraction": 0.5, "data.validation_fraction": 0.5}, "leave rows to train on"),
    ({"data.overlong": "cut"}, "data.overlong"),
])  # fmt: skip
def test_wrong_values_are_named(write_params, changes, message):
    write_params(changes)
    with pytest.raises(UserError, match=message):
        load_section("data", DataConfig)
