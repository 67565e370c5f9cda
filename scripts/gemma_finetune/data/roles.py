"""The roles of turns: what raw rows call them, and what conversations do."""

from itertools import accumulate

# By their names in small letters.
ROLES = {
    "human": "human", "user": "human", "prompter": "human",
    "gpt": "gpt", "assistant": "gpt", "chatgpt": "gpt", "model": "gpt", "ai": "gpt", "bot": "gpt",
    "chatbot": "gpt",
    "system": "system", "developer": "system",
    "function_call": "function_call", "tool_call": "function_call",
    "observation": "observation", "tool": "observation", "tool_response": "observation",
    "function_response": "observation",
}  # fmt: skip
UNTRAINED = "gpt, not trained"  # the role of an answer that is not trained on, in `Turns`
UNTRAINED_CALL = "function_call, not trained"
UNTRAINED_OF = {"gpt": UNTRAINED, "function_call": UNTRAINED_CALL}
ANSWERS = ("gpt", UNTRAINED)
CALLS = ("function_call", UNTRAINED_CALL)
JSON_ROLES = ("function_call", "observation")  # calls and their responses: their text is JSON

# (canonical role, text); a system text is a turn, too. The text of calls and of responses is JSON.
Turns = list[tuple[str, str]]


def role_of(name: str) -> str | None:
    """The canonical role of a role's name, in any case, also with hyphens or spaces for its
    underscores; None if it is not known.
    """
    return ROLES.get(name) or ROLES.get(name.strip().lower().replace("-", "_").replace(" ", "_"))


def name_turn(role: str, number: int) -> str:
    """A turn as messages name it."""
    return "the system text" if role == "system" else f"turn {number}"


def count_turns(turns: Turns) -> list[int]:
    """The number of each turn where each is a message of its own. System texts are not counted."""
    return list(accumulate(int(role != "system") for role, _ in turns))
