"""The `model` and `lora` sections of params.yaml."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from gemma_finetune.config import Float, as_tuple, section

Target = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@section
class ModelConfig:
    """Which base is fine-tuned, and the precision of its frozen weights while training."""

    preset: str
    # float16 is no choice: Gemma 3's activations overflow in it.
    dtype: Literal["bfloat16", "float32"]
    seed: int


@section
class LoRAConfig:
    """Shape of the adapter. `targets` are Hugging Face module names."""

    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[Float, Field(gt=0)]
    targets: Annotated[tuple[Target, ...], BeforeValidator(as_tuple), Field(min_length=1)]
