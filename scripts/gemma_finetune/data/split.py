"""Which split a conversation belongs to: the one it names, else one told by a hash of its content.

The hash is of the group's first conversation (see `dedup`), so an old row stays in its split when rows are added,
also when a longer twin takes its place.
"""

SPLITS = ("train", "validation", "test")


def split_of(conversation: dict, validation_fraction: float, test_fraction: float) -> str:
    """The split of a kept conversation."""
    if "split" in conversation:
        return conversation["split"]
    position = int(conversation["group"], 16) / 2**64  # the id is a hash: uniform in [0, 1)
    if position < test_fraction:
        return "test"
    return "validation" if position < test_fraction + validation_fraction else "train"
