"""Gemma's chat template, twice: in Python for training, and in Jinja for the runtimes.

Both give the same bytes:

    render([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}])
    -> "<start_of_turn>user\\nHi<end_of_turn>\\n<start_of_turn>model\\nHello<end_of_turn>\\n"

- There is no system role: a system text goes before the first user text, in the same turn.
- The text carries no <bos>. Every runtime adds its own start token, and two are as bad as none.
- The rendering of the first n messages is a prefix of the rendering of all of them, so a chat can
  append to a KV cache.
- Content must not hold a control piece such as <end_of_turn>: the tokenizer would turn it into a
  control token.

FunctionGemma's template is another one, for bases whose vocabulary has the pieces of function
calls. A list of `tools`, which may be empty, asks for it (`formats/function_template.py`).
"""

import re

from gemma_finetune.config import END_OF_TURN, START_OF_TURN, find_control
from gemma_finetune.formats import function_template

GENERATION_PROMPT = f"{START_OF_TURN}model\n"

_TURN = re.compile(
    rf"{START_OF_TURN}(user|model)\n((?:(?!{START_OF_TURN}|{END_OF_TURN}).)*){END_OF_TURN}\n",
    re.DOTALL,
)


def fold_system(messages: list[dict]) -> list[dict]:
    """The messages as the model sees them: stripped, and without a system message.

    A system text stands before the first user text, separated by an empty line. A system message
    with nothing after it is dropped.
    """
    if any("tool_calls" in message for message in messages):
        raise ValueError("holds function calls, which only FunctionGemma can make")
    turns = [{"role": m["role"], "content": m["content"].strip()} for m in messages]
    if turns and turns[0]["role"] == "system":
        system, *turns = turns
        if turns and system["content"]:
            turns[0]["content"] = f"{system['content']}\n\n{turns[0]['content']}"
    return turns


def render(messages: list[dict], tools: list[dict] | None = None) -> str:
    """Text of `[system,] user, assistant, user, ...`.

    tools: the functions that the model may call, or None for a base without functions.
    ValueError if roles do not alternate, or if content holds a control piece.
    """
    if tools is not None:
        return function_template.render(messages, tools)
    parts = []
    for index, message in enumerate(fold_system(messages)):
        expected = "assistant" if index % 2 else "user"
        if message["role"] != expected:
            raise ValueError(f"turn {index + 1} must be {expected}'s, found {message['role']!r}")

        content = message["content"]
        piece = find_control(content)
        if piece:
            raise ValueError(f"content holds the control piece {piece}")

        role = "model" if expected == "assistant" else "user"
        parts.append(f"{START_OF_TURN}{role}\n{content}{END_OF_TURN}\n")
    return "".join(parts)


def render_prompt(messages: list[dict], tools: list[dict] | None = None) -> str:
    """Text of messages that end with the user's, up to where the model answers.

    With tools the last message may also be a tool's: the model's turn then goes on.
    ValueError as in `render`, or if the last message is not the user's.
    """
    if tools is not None and messages and messages[-1]["role"] == "tool":
        return render(messages, tools)
    if not messages or messages[-1]["role"] != "user":
        raise ValueError("a prompt must end with a user's message")
    return render(messages, tools) + GENERATION_PROMPT


def untrained_answers(messages: list[dict]) -> list[int]:
    """Which answers have `"train": false`: their places among the answers, from 0."""
    answers = [message for message in messages if message["role"] == "assistant"]
    return [place for place, answer in enumerate(answers) if answer.get("train") is False]


def parse(text: str) -> list[dict]:
    """The messages of a rendered text; a system text stays part of the first user message.

    ValueError if `render` did not write the text.
    """
    messages, end = [], 0
    while found := _TURN.match(text, end):
        role = "assistant" if found[1] == "model" else "user"
        messages.append({"role": role, "content": found[2]})
        end = found.end()
    if end != len(text):
        raise ValueError(
            f"not a rendered conversation: character {end} starts {text[end : end + 40]!r}"
        )
    return messages


# Below: the same template for the runtimes, as it ships in a model directory and in a bundle.

# A `.task` has no field for a template, only for a (prefix, suffix) of each role.
AFFIXES = {
    "user": (f"{START_OF_TURN}user\n", f"{END_OF_TURN}\n"),
    "model": (f"{START_OF_TURN}model\n", f"{END_OF_TURN}\n"),
}

# Two texts, because two runtimes read a template differently. transformers renders a whole
# conversation. LiteRT-LM keeps a conversation open: it renders again and appends what is new. Its
# last rendering ends with the model's answer, whose <end_of_turn> the model wrote itself, so a line
# break behind that <end_of_turn> would be lost from the second turn on. So both texts put the line
# break between two turns in front of the second, and the text for transformers adds the one that
# ends the conversation.
LITERTLM_TEMPLATE = """\
{%- macro text(content) -%}
{%- if content is string -%}{{ content | trim }}
{%- else -%}{%- for part in content -%}{{ part['text'] | trim }}{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- set system = text(messages[0]['content']) if messages[0]['role'] == 'system' else '' -%}
{%- set turns = messages[1:] if messages[0]['role'] == 'system' else messages -%}
{%- for message in turns -%}
{%- set role = 'model' if message['role'] == 'assistant' else message['role'] -%}
{%- if role != ('user' if loop.index0 % 2 == 0 else 'model') -%}
{{ raise_exception('Turns must alternate user, assistant, user, ...') }}
{%- endif -%}
{%- if not loop.first -%}{{ '\\n' }}{%- endif -%}
{{ '<start_of_turn>' + role + '\\n' }}
{%- if loop.first and system -%}{{ system + '\\n\\n' }}{%- endif -%}
{{ text(message['content']) + '<end_of_turn>' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '\\n<start_of_turn>model\\n' }}{%- endif -%}
"""

# With <bos>, as in Google's template: transformers adds none to a rendered chat. LiteRT-LM does.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    + LITERTLM_TEMPLATE
    + "{%- if not add_generation_prompt -%}{{ '\\n' }}{%- endif -%}\n"
)


def chat_template(has_functions: bool) -> str:
    """The template that a model directory carries; `has_functions`: of the tokenizer."""
    return function_template.CHAT_TEMPLATE if has_functions else CHAT_TEMPLATE


def litertlm_template(has_functions: bool) -> str:
    """The template for LiteRT-LM; `has_functions`: of the tokenizer."""
    return function_template.LITERTLM_TEMPLATE if has_functions else LITERTLM_TEMPLATE
