"""Keys of a row that its format does not know.

A key that changes the meaning of the row is refused by name: dropping it would train on something
that the row does not say. Other keys, such as id, topic or source, are ignored and counted.
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
    "ambiguous": "next to another key with the same meaning; keep one of them",
    "weight": "but all answers are trained on alike, and nothing else is; drop or split the row",
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
# Whether a turn is trained on, as OpenAI, Axolotl and ms-swift call it.
WEIGHTS = ("weight", "train", "loss")
NOTHING = (None, "", [], {})
MOST = 50  # names that are counted: a file that uses keys for data would give millions
OTHERS = "(other keys)"


def check_extra_keys(row: schemas.Row) -> set[str]:
    """The names of the ignored keys: `KEY`, `turn.KEY` or `part.KEY`.

    Raises a Rejection that names the first key that must not be ignored.
    """
    ignored = {_printable(key) for key, _ in _extras(row, REFUSED_IN_ROWS, "")}
    for number, turn in enumerate(schemas.turns(row), 1):
        for key, value in _extras(turn, REFUSED_IN_TURNS, f"turn {number} "):
            _check_weight(turn, number, key, value)
            ignored.add(f"turn.{_printable(key)}")
        parts = turn.content if isinstance(turn.content, list) else []
        for part in parts:
            ignored.update(f"part.{_printable(key)}" for key, _ in _extras(part, {}, ""))
    return ignored


def _extras(
    model: schemas.Schema, refused: dict[str, str], where: str
) -> Iterator[tuple[str, object]]:
    """The extra keys that hold something, and their values. Rejection at the first refused one."""
    for key, value in (model.model_extra or {}).items():
        if value in NOTHING:
            continue
        if key in refused:
            raise Rejection(refused[key], f"{where}has `{key}`, {WHY[refused[key]]}")
        yield key, value


def _check_weight(turn: schemas.Turn, number: int, key: str, value: object) -> None:
    """A weight may only say what happens anyway: 1 for an answer, 0 for everything else."""
    is_answer = ROLES.get(turn.role) == "gpt"
    if key in WEIGHTS and value != is_answer:
        raise Rejection(
            "weight",
            f"turn {number} ({turn.role:.40}) has `{key}` {value!r:.20}, {WHY['weight']}",
        )


def keep_most_common(counter: Counter) -> Counter:
    """At most MOST names; the rarer ones are counted together as OTHERS."""
    if len(counter) <= MOST:
        return counter
    others = counter.pop(OTHERS, 0)
    kept = Counter(dict(counter.most_common(MOST - 1)))
    kept[OTHERS] = others + counter.total() - kept.total()
    return kept


def _printable(key: str) -> str:
    return key[:60] if key.isprintable() else ascii(key[:60])
