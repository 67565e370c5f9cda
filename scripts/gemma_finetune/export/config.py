"""The `export` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from gemma_finetune.config import Quantizations, section


@section
class ExportConfig:
    """What the TFLite file can hold, and which quantizations are made of it."""

    prefill_lengths: Annotated[tuple[int, ...], Field(min_length=1)]
    cache_length: Annotated[int, Field(ge=2)]
    calibration_tokens: Annotated[int, Field(ge=0)]
    quantizations: Quantizations
