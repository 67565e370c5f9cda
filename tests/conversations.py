"""Hypothesis strategies: random conversations as the formatter takes them."""

from hypothesis import strategies as st

from gemma_finetune.config import find_control

# Without NUL, which no C string holds, and the four separators that Python strips and Rust and C++
# do not.
_CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x00\x1c\x1d\x1e\x1f")


def text(max_size=None):
    """Content of one message: any text without a control piece, line breaks and spaces at its ends
    included.
    """
    return st.text(_CHARACTERS, max_size=max_size).filter(lambda content: not find_control(content))


def turns(texts):
    """Texts as messages, user and assistant in turn."""
    return [
        {"role": "assistant" if i % 2 else "user", "content": content}
        for i, content in enumerate(texts)
    ]


def with_system(system, messages):
    return [{"role": "system", "content": system}, *messages] if system is not None else messages
