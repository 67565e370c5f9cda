"""How a row is refused: a reason to count by, and a sentence for the person who fixes the row."""

LONGEST = 300  # characters of a message: it may quote the row


class Rejection(Exception):
    """Raised by anything that `validation.check` calls; `validation.check_rows` catches it."""

    def __init__(self, reason: str, message: str):
        self.reason = reason
        self.message = message if len(message) <= LONGEST else message[: LONGEST - 1] + "…"
        super().__init__(self.message)

    def __reduce__(self) -> tuple:
        return Rejection, (self.reason, self.message)  # so it can be raised in another process
