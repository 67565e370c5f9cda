"""The `export` section of params.yaml."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from gemma_finetune.config import Quantizations, section
from gemma_finetune.utils.errors import UserError


@section
class ExportConfig:
    """What the TFLite file can hold, and which quantizations are made of it."""

    prefill_lengths: Annotated[tuple[int, ...], Field(min_length=1)]
    cache_length: Annotated[int, Field(ge=2)]
    calibration_tokens: Annotated[int, Field(ge=0)]
    quantizations: Quantizations


def check_lengths(prefill_lengths: Sequence[int], cache_length: int, max_position: int) -> None:
    """UserError unless the prefill lengths fit the cache, and the cache fits the model."""
    if not prefill_lengths:
        raise UserError(f"export.cache_length: {cache_length} leaves no room to read a prompt")
    if list(prefill_lengths) != sorted(set(prefill_lengths)) or prefill_lengths[0] < 1:
        raise UserError(
            f"export.prefill_lengths: {list(prefill_lengths)} must be positive, ascending, and "
            "each named once"
        )
    if prefill_lengths[-1] >= cache_length:
        raise UserError(
            f"export.prefill_lengths: {prefill_lengths[-1]} leaves no room to answer in a cache of "
            f"export.cache_length {cache_length}; make the cache longer or the prefill shorter"
        )
    if cache_length > max_position:
        raise UserError(
            f"export.cache_length: {cache_length} is more than the {max_position} positions of "
            "the model"
        )
