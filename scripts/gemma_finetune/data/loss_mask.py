"""Which answers a row wants to be trained on: the flags and weights of turns and of whole rows.

Only 0 and 1 (or false and true, also as text) can be honoured: an answer is trained on or not.
"""

from collections.abc import Mapping

from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.rejection import Rejection

# True means trained on, as OpenAI, Axolotl, ms-swift, Mistral and others call it.
TRAINED = frozenset(
    "weight weights loss_weight sample_weight loss_scale loss_mask loss train training trainable "
    "is_trainable trained train_on_turn supervised compute_loss calculate_loss".split()
)
# True means not trained on: torchtune's name, and those that people choose themselves.
MASKED = frozenset("masked is_masked ignore ignored ignore_loss no_loss".split())
# A mask may mean either; the details are masks of parts of a text.
REFUSED = frozenset(("mask", "train_detail", "training_detail"))
# In a whole row, other names often are metadata: `loss` of another model, `training` of a person.
WEIGHTS = frozenset(("weight", "loss_weight", "sample_weight", "loss_scale"))

KEYS = TRAINED | MASKED | REFUSED
FLAGS = {"true": True, "1": True, "1.0": True, "false": False, "0": False, "0.0": False}


def wants_training(extra: Mapping[str, object] | None) -> bool | None:
    """Whether the extra keys of a turn say that it is trained on; None if they say nothing.

    Rejection `weight` if they cannot be honoured or contradict each other. Its message begins with
    `has`: the caller puts the turn before it.
    """
    said = None
    for key, value in (extra or {}).items():
        if key not in KEYS or is_nothing(value):
            continue
        flag = read_flag(key, value)
        if flag is None:
            raise Rejection(
                "weight",
                f"has `{key}` {value!r:.20}, which cannot be honoured: a text is "
                "trained on or not (`weight` 1 or 0, `train` true or false)",
            )
        if said is not None and flag != said:
            raise Rejection("weight", f"has `{key}` {value!r:.20}, which another key contradicts")
        said = flag
    return said


def read_flag(key: str, value: object) -> bool | None:
    """Whether `key` with this value means that the text is trained on; None if unclear."""
    flag = FLAGS.get(str(value).strip().lower())
    if flag is None or key in REFUSED:
        return None
    return flag != (key in MASKED)


def refuse_untrained_row(extra: Mapping[str, object] | None) -> None:
    """Rejection if the extra keys of a whole row say that it is not trained on, or only in part."""
    for key, value in (extra or {}).items():
        if key not in KEYS or is_nothing(value):
            continue
        flag = read_flag(key, value)
        if flag is False:
            raise Rejection("untrained", f"has `{key}` {value!r:.20}: it is not to be trained on")
        is_weight = key in WEIGHTS and isinstance(value, int | float)
        if flag is None and (is_weight or key in REFUSED):
            raise Rejection(
                "weight",
                f"has `{key}` {value!r:.20}, which cannot be honoured: all rows count alike; "
                "remove the key or the row",
            )
