"""The `data` section of params.yaml."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_validator

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
COLUMN_NAMES = ("user", "assistant", "input", "system", "split", "messages")


def _check_columns(columns: dict[str, str]) -> dict[str, str]:
    unknown = sorted(set(columns) - set(COLUMN_NAMES))
    if unknown:
        known = ", ".join(COLUMN_NAMES)
        raise ValueError(f"{unknown[0]!r} is no name for a column; known are {known}")
    if ("user" in columns) != ("assistant" in columns):
        raise ValueError("must name both user and assistant, or neither")
    if "user" in columns and "messages" in columns:
        raise ValueError("names either messages, or user and assistant")
    if len(set(columns.values())) < len(columns):
        raise ValueError("names one column twice")
    return columns


Columns = Annotated[
    dict[str, Annotated[str, Field(min_length=1)]],
    AfterValidator(_check_columns),
]
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

    @field_validator("test_fraction")
    @classmethod
    def _leaves_rows(cls, test_fraction: float, info: ValidationInfo) -> float:
        if info.data.get("validation_fraction", 0) + test_fraction >= 1:
            raise ValueError(
                "validation_fraction + test_fraction must leave rows to train on (be under 1)"
            )
        return test_fraction
