"""Which split a conversation belongs to: the one it names, or else one chosen by its id.

The id is a hash of the content, so the split of a row depends on that row alone: a row keeps its
split whatever other rows are added or removed. `dedup` keeps twins out of different splits, because
it keeps only one row of a cluster of twins.
"""

SPLITS = ("train", "validation", "test")


def split_of(conversation: dict, validation_fraction: float, test_fraction: float) -> str:
    """The split of a kept conversation."""
    if "split" in conversation:
        return conversation["split"]
    position = int(conversation["id"], 16) / 2**64  # a hash: uniform in [0, 1)
    if position < test_fraction:
        return "test"
    if position < test_fraction + validation_fraction:
        return "validation"
    return "train"
