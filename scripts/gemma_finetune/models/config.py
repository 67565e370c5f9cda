"""The `model` and `lora` sections of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from gemma_finetune.config import Float, section

Target = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@section
class TinyConfig:
    """How long the tiny base is pretrained; nothing of it concerns another preset."""

    steps: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[Float, Field(gt=0)]


@section
class ModelConfig:
    """Which base is fine-tuned, and the precision of its frozen weights while training."""

    preset: str
    # float16 is no choice: Gemma 3's activations overflow in it.
    dtype: Literal["bfloat16", "float32"]
    seed: int
    tiny: TinyConfig


@section
class LoRAConfig:
    """Shape of the adapter. `targets` are Hugging Face module names."""

    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[Float, Field(gt=0)]
    targets: Annotated[tuple[Target, ...], Field(min_length=1)]
