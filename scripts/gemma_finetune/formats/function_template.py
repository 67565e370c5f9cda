"""FunctionGemma's chat template, twice: in Python for training, and in Jinja for the runtimes.

    <start_of_turn>developer
    {system text}{declarations}<end_of_turn>
    <start_of_turn>user
    Hall light, please.<end_of_turn>
    <start_of_turn>model
    {calls}{responses}The light is on.<end_of_turn>

- A system text and the declarations share one turn; it is left out if there are neither.
- Several calls stand behind each other, and so do their responses.
- After responses the model's turn goes on, without a new marker.
- The model ends its calls with <start_function_response>, and words with <end_of_turn>. So that
  piece ends a rendering whose last message has calls.
- The rendering of the first n messages is a prefix of the rendering of all of them.
"""

from collections.abc import Iterator
from typing import Any

from gemma_finetune.config import (
    END_OF_TURN,
    START_OF_TURN,
    START_RESPONSE,
    find_control,
    find_function_piece,
)
from gemma_finetune.formats.function_calls import (
    render_calls,
    render_declaration,
    render_responses,
)

SYSTEM_ROLES = ("system", "developer")
# Which roles may follow a message: None is the beginning.
FOLLOWS = {
    None: ("user",),
    "user": ("assistant",),
    "assistant": ("user",),
    "calls": ("tool",),
    "tool": ("assistant",),
}


def render(messages: list[dict], tools: list[dict]) -> str:
    """Text of `[system,] user, assistant, [tool, assistant,] user, ...`.

    A message of the assistant may have `tool_calls`; the content of a tool's message is a list of
    `{"name", "response"}`. ValueError if roles do not follow each other so, or if a text holds a
    control piece.
    """
    _refuse_pieces([messages, tools])
    turns = list(messages)
    system = ""
    if turns and turns[0]["role"] in SYSTEM_ROLES:
        system = (turns.pop(0)["content"] or "").strip()

    text = ""
    if system or tools:
        declarations = "".join(map(render_declaration, tools))
        text = f"{START_OF_TURN}developer\n{system}{declarations}{END_OF_TURN}\n"

    before = None
    for number, turn in enumerate(turns, 1):
        role = turn["role"]
        if role not in FOLLOWS[before]:
            expected = FOLLOWS[before][0]
            raise ValueError(f"turn {number} must be {expected}'s, found {role!r}")
        text += _turn(turn, goes_on=before == "tool")
        before = "calls" if turn.get("tool_calls") else role
    return text + (START_RESPONSE if before == "calls" else "")


def _turn(turn: dict, goes_on: bool) -> str:
    """One message; `goes_on`: it is in the turn of the message before."""
    if turn["role"] == "tool":
        return render_responses(turn["content"])
    role = "model" if turn["role"] == "assistant" else "user"
    text = "" if goes_on else f"{START_OF_TURN}{role}\n"
    text += (turn.get("content") or "").strip()
    if turn.get("tool_calls"):
        return text + render_calls(call["function"] for call in turn["tool_calls"])
    return f"{text}{END_OF_TURN}\n"


def _refuse_pieces(value: Any) -> None:
    for text in _strings(value):
        if piece := find_control(text) or find_function_piece(text):
            raise ValueError(f"content holds the control piece {piece}")


def _strings(value: Any) -> Iterator[str]:
    """All strings and keys of a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        yield from value
        yield from _strings(list(value.values()))


# Below: the same for the runtimes. It gets functions, arguments and results as JSON, and writes
# them itself: keys sorted, and of a declaration only what training has. So a declaration reads as
# in training in whatever order an app has its keys, and with whatever other keys.

_MACROS = """\
{%- macro text(content) -%}
{%- if content is string -%}{{ content | trim }}
{%- else -%}{%- for part in content -%}
{{ part['text'] | trim }}{%- if not loop.last -%}{{ '\\n' }}{%- endif -%}
{%- endfor -%}{%- endif -%}
{%- endmacro -%}
{%- macro number(value) -%}
{%- set digits = value | tojson -%}
{%- if value is float and value == value | int -%}{{ value | int }}
{%- elif 'e-' in digits -%}
{%- for zeros in range(4, 325) -%}{%- for end in ['e-' ~ zeros, 'e-0' ~ zeros] -%}
{%- if end in digits and digits[digits | length - end | length:] == end -%}
{{ '-' if value < 0 }}0.{% for _ in range(zeros - 1) %}0{% endfor -%}
{{ digits | replace(end, '') | replace('.', '') | replace('-', '') }}
{%- endif -%}
{%- endfor -%}{%- endfor -%}
{%- else -%}{{ digits }}{%- endif -%}
{%- endmacro -%}
{%- macro value(it) -%}
{%- if it is string -%}{{ '<escape>' + it + '<escape>' }}
{%- elif it is mapping -%}{{ '{' }}
{%- for key, item in it | dictsort -%}
{{ key + ':' + value(item) }}{%- if not loop.last -%}{{ ',' }}{%- endif -%}
{%- endfor -%}{{ '}' }}
{%- elif it is sequence -%}{{ '[' }}
{%- for item in it -%}{{ value(item) }}{%- if not loop.last -%}{{ ',' }}{%- endif -%}
{%- endfor -%}{{ ']' }}
{%- elif it is number -%}{{ number(it) }}
{%- else -%}{{ it | tojson }}{%- endif -%}
{%- endmacro -%}
{%- macro capitals(type) -%}
{%- if type is string -%}{{ value(type | upper) }}
{%- else -%}{{ '[' }}
{%- for name in type -%}{{ value(name | upper) }}{%- if not loop.last -%}{{ ',' }}{%- endif -%}
{%- endfor -%}{{ ']' }}{%- endif -%}
{%- endmacro -%}
{%- macro schema(it) -%}
{%- set state = namespace(comma='') -%}{{ '{' }}
{%- for key in ['description', 'enum', 'items', 'nullable', 'properties', 'required', 'type'] -%}
{%- if it is mapping and key in it and it[key] -%}
{%- set printed -%}
{%- if key == 'properties' -%}{{ '{' }}
{%- for name, inner in it[key] | dictsort -%}
{{ name + ':' + schema(inner) }}{%- if not loop.last -%}{{ ',' }}{%- endif -%}
{%- endfor -%}{{ '}' }}
{%- elif key == 'items' -%}{{ schema(it[key]) }}
{%- elif key == 'type' -%}{{ capitals(it[key]) }}
{%- else -%}{{ value(it[key]) }}{%- endif -%}
{%- endset -%}
{%- if printed != '{}' -%}
{{ state.comma + key + ':' + printed }}{%- set state.comma = ',' -%}
{%- endif -%}
{%- endif -%}
{%- endfor -%}{{ '}' }}
{%- endmacro -%}
{%- macro declaration(it) -%}
{{ '<start_function_declaration>declaration:' + it['name'] }}
{{- '{description:' + value(it['description'] or '') }}
{%- set parameters = schema(it['parameters']) -%}
{%- if parameters != '{}' -%}{{ ',parameters:' + parameters }}{%- endif -%}
{{ '}<end_function_declaration>' }}
{%- endmacro -%}
{%- macro response(it) -%}
{%- set result = it['response'] if it['response'] is mapping else {'result': it['response']} -%}
{{ '<start_function_response>response:' + it['name'] + value(result) }}
{{- '<end_function_response>' }}
{%- endmacro -%}
"""

# As in chat_template.py, the line break between two turns stands in front of the second.
LITERTLM_TEMPLATE = (
    _MACROS
    + """\
{%- set has_system = messages[0]['role'] in ['system', 'developer'] -%}
{%- set system = text(messages[0]['content']) if has_system else '' -%}
{%- set turns = messages[1:] if has_system else messages -%}
{%- set state = namespace(goes_on=false, first=true) -%}
{%- if system or tools -%}
{{ '<start_of_turn>developer\\n' + system }}
{%- for tool in tools or [] -%}{{ declaration(tool['function'] or tool) }}{%- endfor -%}
{{ '<end_of_turn>' }}{%- set state.first = false -%}
{%- endif -%}
{%- for message in turns -%}
{%- if message['role'] == 'tool' -%}
{%- for part in message['content'] -%}{{ response(part) }}{%- endfor -%}
{%- set state.goes_on = true -%}
{%- else -%}
{%- if not state.goes_on -%}
{%- if not state.first -%}{{ '\\n' }}{%- endif -%}
{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else 'user') + '\\n' }}
{%- endif -%}
{%- set state.goes_on = false -%}{%- set state.first = false -%}
{%- if message['content'] -%}{{ text(message['content']) }}{%- endif -%}
{%- if message['tool_calls'] -%}
{%- for call in message['tool_calls'] -%}
{{ '<start_function_call>call:' + call['function']['name'] }}
{{- value(call['function']['arguments'] or {}) + '<end_function_call>' }}
{%- endfor -%}
{%- if loop.last -%}{{ '<start_function_response>' }}{%- endif -%}
{%- else -%}{{ '<end_of_turn>' }}
{%- endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt and not state.goes_on -%}
{{ '\\n<start_of_turn>model\\n' }}
{%- endif -%}
"""
)

# For transformers: with <bos>, and with the line break that ends a conversation.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    + LITERTLM_TEMPLATE
    + "{%- if not add_generation_prompt and not state.goes_on and not "
    "(messages and messages[-1]['tool_calls']) -%}{{ '\\n' }}{%- endif -%}\n"
)
