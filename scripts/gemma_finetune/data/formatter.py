"""Gemma's chat template: messages to text and back. Knows nothing of files, tokenizers or datasets.

    render([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
    -> "<start_of_turn>user\\nHi<end_of_turn>\\n<start_of_turn>model\\nHello<end_of_turn>\\n"

The text carries no <bos>: every runtime puts its own start token in front, and two are as bad as none.
export/chat_template.py says the same in Jinja, for runtimes.
Rendering the first n messages gives a prefix of rendering all of them, so a chat can append to a KV cache.
"""

import re

from gemma_finetune.config import END_OF_TURN, START_OF_TURN
from gemma_finetune.data.control import find_control

GENERATION_PROMPT = f"{START_OF_TURN}model\n"

_TURN = re.compile(
    rf"{START_OF_TURN}(user|model)\n((?:(?!{START_OF_TURN}|{END_OF_TURN}).)*){END_OF_TURN}\n", re.DOTALL
)  # fmt: skip


def render(messages: list[dict]) -> str:
    """Text of `[system,] user, assistant, user, ...`; the system text goes before the first user's.

    ValueError where roles do not alternate or content holds a control piece such as <end_of_turn>.
    """
    system = _content(messages[0]) if messages and messages[0]["role"] == "system" else ""
    turns = messages[1:] if messages and messages[0]["role"] == "system" else messages
    parts = []
    for index, message in enumerate(turns):
        expected = "assistant" if index % 2 else "user"
        if message["role"] != expected:
            raise ValueError(f"turn {index + 1} must be {expected}'s, found {message['role']!r}")
        prefix = f"{system}\n\n" if system and index == 0 else ""
        parts.append(f"{START_OF_TURN}{_gemma(expected)}\n{prefix}{_content(message)}{END_OF_TURN}\n")
    return "".join(parts)


def render_prompt(messages: list[dict]) -> str:
    """Text of messages that end with the user's, up to where the model answers."""
    if not messages or messages[-1]["role"] != "user":
        raise ValueError("a prompt must end with a user's message")
    return render(messages) + GENERATION_PROMPT


def parse(text: str) -> list[dict]:
    """The messages of a rendered text, `render`'s inverse; a system text stays part of the first user's."""
    messages, end = [], 0
    while found := _TURN.match(text, end):
        role = "assistant" if found[1] == "model" else "user"
        messages.append({"role": role, "content": found[2]})
        end = found.end()
    if end != len(text):
        raise ValueError(f"not a rendered conversation: character {end} starts {text[end : end + 40]!r}")
    return messages


def _content(message):
    content = message["content"].strip()
    if piece := find_control(content):
        raise ValueError(f"content holds the control piece {piece}")
    return content


def _gemma(role):
    return "model" if role == "assistant" else role
