"""The `check` section of params.yaml."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from gemma_finetune.config import Float, section

Share = Annotated[Float, Field(ge=0, le=1)]
Positive = Annotated[Float, Field(gt=0)]


def _text_keys(value: Any) -> Any:
    """YAML reads a quantization that is named `8` as a number; names are text."""
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else value


PerQuantization = Annotated[dict[str, Positive], BeforeValidator(_text_keys)]
PerTask = dict[str, Share]
PerFigure = dict[str, Float]


@section
class CheckConfig:
    """Thresholds. max_kl and max_score_loss need an entry for each name in export.quantizations.

    min_figures, max_figures: for further figures of the answers, by name; mostly none.
    """

    min_score: PerTask
    min_figures: PerFigure
    max_figures: PerFigure
    max_logit_diff: Positive
    max_kl: PerQuantization
    max_score_loss: PerQuantization
    min_runtime_agreement: Share
    max_faulty_answers: Share
