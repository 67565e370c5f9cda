"""The `train` section of params.yaml."""

from typing import Annotated

from pydantic import Field

from gemma_finetune.config import Float, section


@section
class TrainingConfig:
    """Optimization. A step reads `batch_size` rows of `sequence_length` tokens, packed with whole conversations."""

    learning_rate: Annotated[Float, Field(gt=0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    weight_decay: Annotated[Float, Field(ge=0)]
    clip_norm: Annotated[Float, Field(gt=0)]
    epochs: Annotated[int, Field(ge=1)]
    max_steps: Annotated[int, Field(ge=1)] | None
    batch_size: Annotated[int, Field(ge=1)]
    sequence_length: Annotated[int, Field(ge=16)]
    seed: Annotated[int, Field(ge=0)]
