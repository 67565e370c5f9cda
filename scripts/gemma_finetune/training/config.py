"""The `train` section of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from gemma_finetune.config import Float, Seed, section

SequenceLength = Annotated[int, Field(ge=16)]


@section
class TrainingConfig:
    """Optimization. Rows have `sequence_length` tokens and are packed with whole conversations.

    A step reads `batch_size` rows `gradient_accumulation_steps` times. Patience counts epochs.
    `memory_gb` is what an automatic batch size plans for.
    """

    learning_rate: Annotated[Float, Field(gt=0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    weight_decay: Annotated[Float, Field(ge=0)]
    clip_norm: Annotated[Float, Field(gt=0)]
    beta_2: Annotated[Float, Field(ge=0, lt=1)]
    epochs: Annotated[int, Field(ge=1)] | None
    max_steps: Annotated[int, Field(ge=1)] | None
    early_stopping_patience: Annotated[int, Field(ge=1)] | None
    batch_size: Annotated[int, Field(ge=1)]
    gradient_accumulation_steps: Annotated[int, Field(ge=1)]
    sequence_length: SequenceLength
    memory_gb: Annotated[Float, Field(gt=0)]
    rematerialization: bool
    save_every_steps: Annotated[int, Field(ge=1)]
    save_every_minutes: Annotated[Float, Field(gt=0)]
    distribution: Literal["none", "data_parallel", "model_parallel"]
    seed: Seed

    @field_validator("max_steps")
    @classmethod
    def _something_ends_it(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is None and info.data.get("epochs", 1) is None:
            raise ValueError("set this or train.epochs, so that training ends")
        return value
