"""The `evaluate` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from gemma_finetune.config import section


@section
class EvaluateConfig:
    """How much of the test split is measured, and how long an answer may get."""

    max_examples: Annotated[int, Field(ge=1)] | None
    max_tokens: Annotated[int, Field(ge=1)]
