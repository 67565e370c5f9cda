"""How a row is refused: a reason to count by, and a sentence for the person who fixes the row."""

import re

LONGEST = 300  # characters of a message: it may quote the row
# The key that a message is about: it comes first (`label: …`), or is the first one in backticks.
_KEY = re.compile(r"([\w.]+): |[^`]*?`([^`]+)`")
_VALUE = re.compile(r"b?'[^']*'|\"[^\"]*\"|\d+")


class Rejection(Exception):
    """Raised by anything that `validation.check` calls; `validation.check_rows` catches it."""

    def __init__(self, reason: str, message: str):
        self.reason = reason
        self.message = message if len(message) <= LONGEST else message[: LONGEST - 1] + "…"
        super().__init__(self.message)

    def __reduce__(self) -> tuple:
        return Rejection, (self.reason, self.message)  # so it can be raised in another process


def cause(reason: str, message: str) -> str:
    """What rows with one fault have in common: the reason, and the key that it is about.

    Without a key, the message without the values that it quotes.
    """
    key = _KEY.match(message)
    about = (key[1] or key[2]) if key else _VALUE.sub("…", message)
    return f"{reason}: {re.sub(r'[0-9]+', '…', about)}"


def short(value: object) -> str:
    """A value as a message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
