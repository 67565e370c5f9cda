"""How a prompt is cut into calls of the few lengths that a model has compiled."""

from collections.abc import Sequence


def choose_prefill(lengths: Sequence[int], left: int, room: int) -> int | None:
    """The length of the next call, of ascending `lengths`, with `left` tokens to read and `room` in
    the cache.

    The smallest that takes all that is left if at most half of it is padding, else the largest that
    can be filled. None where the cache has no room for any: the caller then reads token by token.
    """
    fitting = [n for n in lengths if n <= room]
    whole = next((n for n in fitting if n >= left), None)
    filled = max((n for n in fitting if n <= left), default=None)
    if whole is not None and (filled is None or whole <= 2 * left):
        return whole
    return filled
