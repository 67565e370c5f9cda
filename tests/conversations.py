"""Hypothesis strategies: random conversations as the formatter takes them."""

from hypothesis import strategies as st

from gemma_finetune.config import find_control

# Without NUL, which C strings cannot hold, and without the four separators that Python strips but
# Rust and C++ do not.
_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x00\x1c\x1d\x1e\x1f")


def text(max_size: int | None = None) -> st.SearchStrategy[str]:
    """Content of one message: any text without a control piece. White space may surround it."""
    return st.text(_CHARACTERS, max_size=max_size).filter(lambda content: not find_control(content))


def turns(texts: list[str]) -> list[dict]:
    """Texts as messages, of user and assistant in turn."""
    messages = []
    for number, content in enumerate(texts):
        role = "assistant" if number % 2 else "user"
        messages.append({"role": role, "content": content})
    return messages


def with_system(system: str | None, messages: list[dict]) -> list[dict]:
    """The messages, with a system message in front of them if there is one."""
    if system is None:
        return messages
    return [{"role": "system", "content": system}, *messages]
