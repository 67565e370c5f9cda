"""The `data` section of params.yaml."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gemma_finetune.config import Float, section

Repairs = Annotated[
    tuple[
        Literal[
            "line_breaks",
            "trim",
            "join_system",
            "cut_at_empty",
            "merge_turns",
            "drop_leading_assistant",
            "drop_trailing_user",
        ],
        ...,
    ],
    BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value),
]
Columns = dict[str, Annotated[str, Field(min_length=1)]]
COLUMN_NAMES = ("user", "assistant", "input", "system", "split", "messages")
Fraction = Annotated[Float, Field(ge=0, le=1)]


@section
class DataConfig:
    """Which data is read, what is refused, what counts as a duplicate, and how it is split."""

    raw: str
    format: Literal["auto", "sharegpt", "alpaca", "chatml", "columns"]
    columns: Columns
    repairs: Repairs
    reasoning: Literal["refuse", "drop", "keep"]
    max_lost_fraction: Fraction
    dedup_threshold: Annotated[Float, Field(gt=0, le=1)]
    validation_fraction: Fraction
    test_fraction: Fraction
    overlong: Literal["drop", "split", "fail"]

    def __post_init__(self) -> None:
        unknown = sorted(set(self.columns) - set(COLUMN_NAMES))
        if unknown:
            known = ", ".join(COLUMN_NAMES)
            raise ValueError(f"columns: {unknown[0]!r} is no name for a column; known are {known}")
        if ("user" in self.columns) != ("assistant" in self.columns):
            raise ValueError("columns must name both user and assistant, or neither")
        if "user" in self.columns and "messages" in self.columns:
            raise ValueError("columns names either messages, or user and assistant")
        if len(set(self.columns.values())) < len(self.columns):
            raise ValueError("columns names one column twice")
        if self.validation_fraction + self.test_fraction >= 1:
            raise ValueError(
                "validation_fraction + test_fraction must leave rows to train on (be under 1)"
            )
