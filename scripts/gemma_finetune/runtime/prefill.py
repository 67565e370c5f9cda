"""How a prompt is split into calls of the few lengths that a model has signatures for."""

from collections.abc import Sequence


def choose_prefill(lengths: Sequence[int], left: int, room: int) -> int | None:
    """The length of the next prefill call, one of the ascending `lengths`.

    `left`: how many tokens are still to be read. `room`: how many the cache can still take.

    The smallest length that takes all that is left, if at most half of it is padding; else the
    largest that can be filled. None if the cache has no room for any: the caller then reads token
    by token.
    """
    fitting = [length for length in lengths if length <= room]
    whole = next((length for length in fitting if length >= left), None)
    filled = max((length for length in fitting if length <= left), default=None)
    if whole is not None and (filled is None or whole <= 2 * left):
        return whole
    return filled
