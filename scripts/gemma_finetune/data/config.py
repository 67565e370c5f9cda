"""The `data` section of params.yaml."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gemma_finetune.config import Float, section

Repairs = Annotated[
    tuple[Literal["trim", "merge_turns", "drop_trailing_user"], ...],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
]
Fraction = Annotated[Float, Field(ge=0, le=1)]


@section
class DataConfig:
    """Which data is read, what is refused, what counts as a duplicate, and how it is split."""

    raw: str
    format: Literal["auto", "sharegpt", "alpaca", "chatml"]
    repairs: Repairs
    max_rejected_fraction: Fraction
    max_lost_fraction: Fraction
    dedup_threshold: Annotated[Float, Field(gt=0, le=1)]
    validation_fraction: Fraction
    test_fraction: Fraction
    overlong: Literal["drop", "fail"]

    def __post_init__(self) -> None:
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                "validation_fraction + test_fraction must leave rows to train on (be under 1)"
            )
