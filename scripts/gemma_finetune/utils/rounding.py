"""Figures as files hold them."""

from typing import Any


def rounded(value: Any) -> Any:
    """Floats to 6 significant digits, which runs on different numbers of threads agree on."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
