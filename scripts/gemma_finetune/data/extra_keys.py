"""Keys of a row that no format has a place for: what changes the meaning is refused by name, the
rest is counted.

So nothing that a row says is lost without a word. Dataset keys such as id, topic or source are of
the second kind.
"""

from collections import Counter
from collections.abc import Iterator

from gemma_finetune.data import schemas
from gemma_finetune.data.converter import ROLES
from gemma_finetune.data.rejection import Rejection

WHY = {
    "tool_call": "which Gemma's template has no place for",
    "reasoning": "which Gemma's template has no place for",
    "non_text_part": "which a text model cannot see",
    "ambiguous": "beside another key for the same; leave one",
    "weight": "but answers are what is trained on, all alike; drop or split the row",
}
MEDIA = dict.fromkeys(
    ("image", "images", "image_url", "video", "videos", "audio", "audios"), "non_text_part"
)
REFUSED_IN_ROWS = MEDIA | {
    **dict.fromkeys(("tools", "functions"), "tool_call"),
    **dict.fromkeys(("conversations", "messages", "system", "system_prompt"), "ambiguous"),
}
REFUSED_IN_TURNS = MEDIA | {
    **dict.fromkeys(("tool_calls", "function_call"), "tool_call"),
    **dict.fromkeys(("reasoning", "reasoning_content", "thinking"), "reasoning"),
    **dict.fromkeys(("from", "role", "value", "content"), "ambiguous"),
}
WEIGHTS = (
    "weight",
    "train",
    "loss",
)  # OpenAI's, Axolotl's, ms-swift's: whether a turn is trained on
NOTHING = (None, "", [], {})
MOST = 50  # names counted: data that stands in keys would make millions
OTHERS = "(other keys)"


def check_extra_keys(row: schemas.Row) -> set[str]:
    """The names of the keys that are ignored, `KEY`, `turn.KEY` or `part.KEY`. Rejection names one
    that can't be.
    """
    ignored = {_printable(key) for key, _ in _refuse(row, REFUSED_IN_ROWS, "")}
    for number, turn in enumerate(schemas.turns(row), 1):
        for key, value in _refuse(turn, REFUSED_IN_TURNS, f"turn {number} "):
            if key in WEIGHTS and value != (ROLES.get(turn.role) == "gpt"):
                raise Rejection(
                    "weight",
                    f"turn {number} ({turn.role:.40}) has `{key}` {value!r:.20}, {WHY['weight']}",
                )
            ignored.add(f"turn.{_printable(key)}")
        for part in turn.content if isinstance(turn.content, list) else ():
            ignored.update(f"part.{_printable(key)}" for key, _ in _refuse(part, {}, ""))
    return ignored


def keep_most_common(counter: Counter) -> Counter:
    """At most MOST names, those left out counted together."""
    if len(counter) <= MOST:
        return counter
    others = counter.pop(OTHERS, 0)
    kept = Counter(dict(counter.most_common(MOST - 1)))
    kept[OTHERS] = others + counter.total() - kept.total()
    return kept


def _printable(key):
    return key[:60] if key.isprintable() else ascii(key[:60])


def _refuse(
    model: schemas.Schema, refused: dict[str, str], where: str
) -> Iterator[tuple[str, object]]:
    """The extra keys that hold something, with their values. Rejection at the first that is in
    `refused`.
    """
    for key, value in (model.model_extra or {}).items():
        if value not in NOTHING:
            if key in refused:
                raise Rejection(refused[key], f"{where}has `{key}`, {WHY[refused[key]]}")
            yield key, value
