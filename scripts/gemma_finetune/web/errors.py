"""What the page says when a question gets no whole answer, as an exception."""

from gemma_finetune.utils.cli import UserError


class ContextFull(UserError):
    """The context has no room for the question or for the rest of its answer."""


def page_error(text: str) -> UserError:
    """The exception for an error that the page shows."""
    is_full = "that the model can hold" in text or "that this model can hold" in text
    kind = ContextFull if is_full else UserError
    return kind(f"the page says: {text}")
