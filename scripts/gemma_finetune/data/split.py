"""Which split a conversation belongs to: the one it names, or else one chosen by its id.

The id is a hash of the content, so the split of a row depends on that row alone: a row keeps its
split whatever other rows are added or removed. One exception: a conversation that grew from another
row, turn by turn, goes where that one goes (`formatter.id_for_split`). `dedup` keeps twins out of
different splits, because it keeps only one row of a cluster of twins.

A row names its split with its key `split`, or by the name of its file or folder:

    train.jsonl    data/test/part-0.parquet    my_val.json    train-00000-of-00002.parquet
"""

import re
from functools import lru_cache

from gemma_finetune.data.rejection import Rejection

SPLITS = ("train", "validation", "test")
# `eval` is a test set, as in Hugging Face's datasets.
SPLIT_OF_WORD = {
    "train": "train",
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "eval"), "test"),
}
# Words of a name: letters of one case, or one capital before small letters (`valSet`).
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Not `validated`, `testimonials`.
_ALMOST = re.compile("(train|test|valid|validation|val|dev|eval)(s|ing|set|split|data)|evaluation")
_FLAG = re.compile("(is|in)?(train|test|validation|val|dev|eval|holdout|heldout)(set|split)?")


def split_of(conversation: dict, validation_fraction: float, test_fraction: float) -> str:
    """The split of a kept conversation with `formatter.id_for_split` for its id."""
    if "split" in conversation:
        return conversation["split"]
    position = int(conversation["id"], 16) / 2**64  # a hash: uniform in [0, 1)
    if position < test_fraction:
        return "test"
    if position < test_fraction + validation_fraction:
        return "validation"
    return "train"


def canonical_split(name: object) -> object:
    """One of SPLITS for any spelling of a split (`dev`, `Valid`); any other value is returned."""
    if not isinstance(name, str):
        return name
    return SPLIT_OF_WORD.get(name.strip().lower(), name)


def split_in_value(name: object) -> object:
    """As `canonical_split`, of the value of `split`: also the one split that its words name, as
    `train_sft` does.
    """
    name = canonical_split(name)
    if not isinstance(name, str):
        return name
    found = _splits_named(name)
    return found.pop() if len(found) == 1 else name


def _splits_named(name: str) -> set[str]:
    words = [word.lower() for word in _WORD.findall(name)]
    pairs = zip(["", *words], words, strict=False)
    return {SPLIT_OF_WORD[word] for before, word in pairs if _is_split(word, before)}


def _is_split(word: str, before: str) -> bool:
    """Whether a word names a split; `before` is the word before it, as in `not_train`."""
    is_unit_test = (before, word) == ("unit", "test")
    return word in SPLIT_OF_WORD and before not in ("not", "non") and not is_unit_test


@lru_cache(maxsize=1024)
def split_in_name(file: str, raw: str) -> str | None:
    """The split that a file below `raw` is named for, or None.

    Only whole words count: `latest.jsonl` names no split. The file's own name comes first, then the
    names of its folders, from the inside out; the name of `raw` itself says nothing. ValueError if
    one name holds words of two splits.
    """
    below = file.removeprefix(raw)
    for part in reversed(re.split("[/#]", below)):
        found = _splits_named(part)
        if len(found) > 1:
            names = " and ".join(sorted(found))
            raise ValueError(f"the name {part!r} says {names}; rename it, so that it names one")
        if found:
            return found.pop()
    return None


def looks_like_split(file: str, raw: str) -> bool:
    """Whether a name below `raw` that names no split holds such a word: `testset`, `hold-out`."""
    below = file.removeprefix(raw)
    joined = re.sub("[^a-z]", "", below.lower())
    words = [word.lower() for word in _WORD.findall(below)]
    return "holdout" in joined or "heldout" in joined or any(map(_ALMOST.fullmatch, words))


def key_looks_like_split(key: str, value: object) -> bool:
    """Whether a key of a row that is not `split` says its split: `partition: test`, `is_test`,
    `metadata: {"split": "test"}`.
    """
    if isinstance(value, dict):
        return any(canonical_split(item) in SPLITS for item in value.values())
    if isinstance(value, bool):
        return _FLAG.fullmatch(re.sub("[^a-z]", "", key.lower())) is not None
    return canonical_split(value) in SPLITS


def agreed_split(own: str | None, named: str | None) -> str | None:
    """The split of a row that names `own`, in a file named for `named`.

    Rejection if they differ.
    """
    if own and named and own != named:
        raise Rejection(
            "split_conflict",
            f"says split {own!r}, but its file or folder is named for {named!r}; change either",
        )
    return own or named
