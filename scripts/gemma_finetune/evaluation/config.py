"""The `evaluate` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from gemma_finetune.config import section


@section
class EvaluateConfig:
    """How many test conversations are measured, and how many tokens an answer may have."""

    max_examples: Annotated[int, Field(ge=1)] | None
    max_tokens: Annotated[int, Field(ge=1)]
