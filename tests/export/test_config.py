import pytest

from gemma_finetune.config import load_section
from gemma_finetune.export.config import ExportConfig
from gemma_finetune.utils.errors import UserError


def test_reads_the_repository_s_own_section(write_params):
    config = load_section("export", ExportConfig, write_params({}))
    assert config.prefill_lengths[-1] < config.cache_length


@pytest.mark.parametrize(
    "key, value", [("prefill_lengths", []), ("cache_length", 1), ("quantizations", []), ("x", 1)]
)
def test_names_the_key_at_fault(write_params, key, value):
    with pytest.raises(UserError, match=f"export.{key}"):
        load_section("export", ExportConfig, write_params({f"export.{key}": value}))
