"""Which split a conversation belongs to: the one it names, else one told by its id, a hash of its
content.

So the split of a row depends on that row alone: whatever is added or taken away, a row that stays,
stays in its split. That no two splits hold twins is `dedup`'s: of a group of twins one row stays.
"""

SPLITS = ("train", "validation", "test")


def split_of(conversation: dict, validation_fraction: float, test_fraction: float) -> str:
    """The split of a kept conversation."""
    if "split" in conversation:
        return conversation["split"]
    position = int(conversation["id"], 16) / 2**64  # a hash: uniform in [0, 1)
    if position < test_fraction:
        return "test"
    return "validation" if position < test_fraction + validation_fraction else "train"
