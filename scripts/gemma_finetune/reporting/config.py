"""The `check` section of params.yaml."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from gemma_finetune.config import Float, section

Share = Annotated[Float, Field(ge=0, le=1)]
Positive = Annotated[Float, Field(gt=0)]
TASKS = ("calls", "exact", "json", "text")  # the values of evaluate.task, but for auto


def _text_keys(value: Any) -> Any:
    """YAML reads a quantization that is named `8` as a number; names are text."""
    return {str(key): item for key, item in value.items()} if isinstance(value, dict) else value


def _known_tasks(value: Any) -> Any:
    """A threshold under another name would judge nothing, and nobody would notice."""
    if unknown := [str(key) for key in value if key not in TASKS]:
        raise ValueError(f"no task {', '.join(unknown)}; there are {', '.join(TASKS)}")
    return value


PerQuantization = Annotated[dict[str, Positive], BeforeValidator(_text_keys)]
PerTask = Annotated[dict[str, Share], AfterValidator(_known_tasks)]
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
