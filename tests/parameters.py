"""The defaults of params.yaml, with what `auto` becomes by the committed metrics/settings.json."""

from typing import Any

from gemma_finetune.config import resolved_section
from gemma_finetune.utils.params import read_params
from imports import ROOT

PARAMS = str(ROOT / "params.yaml")


def resolved() -> dict[str, dict[str, Any]]:
    """Every section, for a folder without metrics/settings.json."""
    return {name: resolved_section(name, PARAMS) for name in read_params(PARAMS)}
