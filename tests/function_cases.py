"""Hypothesis strategies: functions, calls, results and whole conversations with them."""

from hypothesis import strategies as st

from conversations import text
from gemma_finetune.config import find_control

ACTIVATION = "You are a model that can do function calling with the following functions"
RESERVED = ("call", "true", "false", "null")

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.\-]{0,8}", fullmatch=True).filter(
    lambda name: name not in RESERVED
)
# Without control characters, which validation refuses.
strings = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t"), max_size=12
).filter(lambda content: not find_control(content))
numbers = (
    st.integers(-(2**53), 2**53)
    | st.floats(-1e15, 1e15, allow_nan=False)
    .filter(lambda x: x == 0 or abs(x) > 1e-12)
    .map(lambda x: float(f"{x:.15g}"))
    | st.sampled_from([1.0, -0.5, 1e-5, -2.5e-7, 0.0001, 1e15, 40.0])
)
scalars = st.none() | st.booleans() | numbers | strings


def objects(values, max_size=3):
    """Objects whose keys differ not in case alone."""
    return st.dictionaries(names, values, max_size=max_size).filter(
        lambda found: len({key.lower() for key in found}) == len(found)
    )


values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | objects(inner), max_leaves=6
)
_leaves = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", "integer", "number", "boolean", "STRING"])},
    optional={
        "description": strings,
        "enum": st.lists(strings, max_size=3),
        "nullable": st.booleans(),
        "default": scalars,
        "minimum": st.integers(0, 5),
    },
)


def _deeper(inner):
    array = st.fixed_dictionaries({"items": inner, "type": st.just("array")})
    record = st.fixed_dictionaries(
        {"type": st.just("object")},
        optional={
            "properties": objects(inner),
            "required": st.lists(names, max_size=2),
            "additionalProperties": st.just(False),
        },
    )
    return array | record


# Schemas of which little or nothing is printed: an app has them, too.
_hollow = st.sampled_from([
    {}, True, {"default": 1}, {"enum": []}, {"type": ["string", "null"]}, {"properties": {}},
    {"items": {}}, {"items": True}, {"items": {"title": "x"}}, {"description": "", "required": []},
])  # fmt: skip
schemas = st.fixed_dictionaries(
    {"type": st.just("object")},
    optional={
        "properties": objects(st.recursive(_leaves | _hollow, _deeper, max_leaves=4)),
        "required": st.lists(names, max_size=2),
        "description": strings,
        "strict": st.booleans(),
    },
) | st.sampled_from([
    {}, {"properties": {}}, {"properties": {}, "required": []}, {"properties": {"a": {}}},
    {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
])  # fmt: skip
tools = st.lists(
    st.fixed_dictionaries(
        {"name": names}, optional={"description": st.just("") | strings, "parameters": schemas}
    ).map(lambda function: {"type": "function", "function": function}),
    max_size=3,
)
calls = st.lists(st.tuples(names, objects(values)), min_size=1, max_size=2)


@st.composite
def conversations(draw):
    """Messages of one to three exchanges, with or without a system text, and their functions."""
    messages = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(text(max_size=20))})
    for _ in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(text(max_size=12))})
        for _ in range(draw(st.integers(0, 2))):
            messages += draw(called())
        messages.append({"role": "assistant", "content": draw(text(max_size=12))})
    if draw(st.booleans()):
        messages.append({"role": "user", "content": "More"})
        messages.append(draw(called())[0])
    return messages, draw(tools)


@st.composite
def called(draw):
    """A message with calls, and one with their responses."""
    made = draw(calls)
    functions = [{"name": name, "arguments": arguments} for name, arguments in made]
    message = {
        "role": "assistant",
        "tool_calls": [{"type": "function", "function": f} for f in functions],
    }
    if draw(st.booleans()):
        message["content"] = draw(text(max_size=12))
    responses = [{"name": name, "response": draw(objects(values))} for name, _ in made]
    return [message, {"role": "tool", "content": responses}]
