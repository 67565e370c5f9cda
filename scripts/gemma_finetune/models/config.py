"""The `model` and `lora` sections of params.yaml."""

import math
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from gemma_finetune.config import Float, Seed, section

Target = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def _all_linear(value: Any) -> Any:
    """`all-linear`, PEFT's word for every projection, as the names that it stands for."""
    if value in ("all-linear", ["all-linear"]):
        return get_args(Target)
    return tuple(value) if isinstance(value, list) else value


def _not_float16(value: Any) -> Any:
    if value == "float16":
        raise ValueError("activations of Gemma 3 overflow in float16; use bfloat16 or float32")
    return value


@section
class TinyConfig:
    """How the tiny base is pretrained. Other presets do not use it."""

    steps: Annotated[int, Field(ge=2)]
    learning_rate: Annotated[Float, Field(gt=0)]


@section
class ModelConfig:
    """Which base is fine-tuned, and the precision of its frozen weights during training.

    `watch`: a preset that is a directory once more, as a dependency of the stage `base`.
    """

    preset: Annotated[str, Field(min_length=1)]
    watch: str
    dtype: Annotated[Literal["auto", "bfloat16", "float32"], BeforeValidator(_not_float16)]
    seed: Seed
    tiny: TinyConfig


@section
class LoRAConfig:
    """The adapter. `targets` are Hugging Face module names; `dropout` acts on its input.

    With `quantization_aware`, training rounds base and adapter together, as INT4 will.
    """

    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[Float, Field(gt=0)]
    use_rslora: bool
    dropout: Annotated[Float, Field(ge=0, lt=1)]
    targets: Annotated[tuple[Target, ...], Field(min_length=1), BeforeValidator(_all_linear)]
    quantization_aware: bool

    @field_validator("quantization_aware")
    @classmethod
    def _without_dropout(cls, value: bool, info: ValidationInfo) -> bool:
        if value and info.data.get("dropout"):
            raise ValueError(
                "lora.dropout must be 0 with it: "
                "what is rounded is the whole weight, adapter included"
            )
        return value

    @property
    def scale(self) -> float:
        """The factor of B A: alpha / rank, or with rsLoRA (Kalajdzievski, 2023, arXiv:2312.03732)
        alpha / sqrt(rank).
        """
        return self.alpha / (math.sqrt(self.rank) if self.use_rslora else self.rank)
