"""The `generate` section of params.yaml."""

from typing import Annotated, Literal

from pydantic import Field

from gemma_finetune.config import Float, Seed, section
from gemma_finetune.inference.sampler import Sampler


@section
class GenerateConfig:
    """How answers are generated, and on how many threads and in which precision."""

    max_tokens: Annotated[int, Field(ge=1)]
    temperature: Annotated[Float, Field(ge=0)]
    top_k: Annotated[int, Field(ge=1)] | None
    top_p: Annotated[Float, Field(gt=0, le=1)]
    repetition_penalty: Annotated[Float, Field(ge=1)]
    seed: Seed
    threads: Annotated[int, Field(ge=1)] | None
    context_length: Annotated[int, Field(ge=16)]
    dtype: Literal["auto", "bfloat16", "float32"]

    def sampler(self) -> Sampler:
        """How the next token is chosen."""
        return Sampler(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            repetition_penalty=self.repetition_penalty,
            seed=self.seed,
        )
