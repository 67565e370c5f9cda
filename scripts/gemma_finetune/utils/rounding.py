"""Numbers, rounded."""

from typing import Any


def round_up(number: int, step: int) -> int:
    """The next multiple of `step`."""
    return -(-number // step) * step


def rounded(value: Any) -> Any:
    """Floats to 6 significant digits, which runs on different numbers of threads agree on."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
