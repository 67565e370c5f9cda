"""Values of keys as flags and numbers, also as text, as tables have them."""

FLAGS = {"true": True, "yes": True, "false": False, "no": False}


def to_flag(value: object) -> bool | None:
    """A boolean, 0 or 1, also as text; None for all else."""
    number = to_number(value)
    if number is not None:
        return bool(number) if number in (0, 1) else None
    return to_word(value)


def to_word(value: object) -> bool | None:
    """A boolean, also as text; None for all else: a number may be a count or a score."""
    return FLAGS.get(str(value).strip().lower())


def to_number(value: object) -> float | None:
    """A number, also as text."""
    if not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
