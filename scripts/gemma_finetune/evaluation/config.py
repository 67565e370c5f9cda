"""The `evaluate` section of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from gemma_finetune.config import section

Count = Annotated[int, Field(ge=1)]


@section
class EvaluateConfig:
    """How much of the test split is measured, and what its answers are compared by.

    max_examples: conversations, spread evenly.
    max_positions: tokens of the references whose logits are compared, in whole conversations.
    max_answers: answers that each model generates.
    max_tokens: of one of them.
    """

    task: Literal["auto", "calls", "exact", "json", "text"]
    max_examples: Count | None
    max_positions: Count | None
    max_answers: Count | None
    max_tokens: Count
