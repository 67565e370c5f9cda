"""Keys and content parts of an answer that hold reasoning, told by their words and values."""

from collections.abc import Mapping
from functools import lru_cache

from gemma_finetune.data.blank import is_nothing
from gemma_finetune.data.key_words import all_in, split_words, words
from gemma_finetune.data.rejection import Rejection

# One of these makes a key, or a tag, one of reasoning, if all its other words are in _BESIDE.
_REASONING = split_words(
    "reasoning reasonings thinking thinkings think thought thoughts cot rationale rationales "
    "scratchpad monologue deliberation reflection reflections analysis "
    "思考 思考过程 思维链 推理 推理过程"
)
_TOGETHER = split_words("chainofthought chainofthoughts stepbystepreasoning")
_BESIDE = split_words(
    "content contents text texts detail details block blocks trace traces trajectory trajectories "
    "attempt process step steps by chain of complex deep internal inner hidden private long short "
    "path paths summary intermediate stepwise self solution explanation plan "
    "raw full output response answer completion generated"
)
# Whose reasoning it is: `deepseek_r1_thoughts`, but not `reasoning_model`.
_WHOSE = split_words("model assistant ai bot llm gpt o deepseek r qwen qwq claude gemini kimi")
# Other things are analysed, too: `response_analysis`.
_BESIDE_ANALYSIS = _REASONING | split_words(
    "self internal inner hidden private raw full content text"
)
# Values of a switch, and keys of a request's options: `"thinking": {"type": "enabled"}`.
SWITCHES = split_words(
    "on off true false yes no none minimal low medium high enabled disabled auto default"
)
OPTIONS = split_words("type effort enabled exclude summary budget_tokens max_tokens")
# Types of content parts, as Anthropic, OpenAI and Mistral call them.
REASONING_PARTS = split_words("thinking redacted_thinking reasoning thought reasoning_text")
HINT = "data.reasoning says what to do with it: drop or keep"


def is_reasoning(key: str, value: object) -> bool:
    """Whether a key holds reasoning. A switch (`"reasoning": "off"`) is none."""
    if not is_reasoning_name(key) or isinstance(value, int | float) or is_nothing(value):
        return False
    if isinstance(value, dict) and OPTIONS.issuperset(value):
        return False
    return not (isinstance(value, str) and value.strip().lower() in SWITCHES)


@lru_cache(10_000)
def is_reasoning_name(name: str) -> bool:
    """Whether the name of a key or of a tag says that it holds reasoning."""
    found = [word for word in words(name) if not word.isdigit()]
    joined = "".join(found)
    if joined in _REASONING or joined in _TOGETHER:
        return True
    if not found or _REASONING.isdisjoint(found) or found[-1] in _WHOSE:
        return False
    if not {"analysis", "reflection", "reflections"}.isdisjoint(found):
        return all_in(found, _BESIDE_ANALYSIS, _WHOSE)
    return all_in(found, _REASONING, _BESIDE, _WHOSE)


def is_reasoning_part(kind: str, extra: Mapping[str, object] | None) -> bool:
    """Whether a content part of an answer holds reasoning. kind: its type."""
    return kind in REASONING_PARTS or (extra or {}).get("thought") is True


def reasoning_of(extra: Mapping[str, object] | None, where: str) -> str | None:
    """The reasoning in the extra keys of an answer. A list beside a text is the same in pieces.
    Rejection if there is no text, or more than one.
    """
    found = [(key, value) for key, value in (extra or {}).items() if is_reasoning(key, value)]
    if not found:
        return None
    texts = {value.strip(): key for key, value in found if isinstance(value, str)}
    if not texts:
        raise Rejection(
            "reasoning",
            f"{where} has `{found[0][0]}`, which is not one text, so data.reasoning cannot keep it",
        )
    if len(texts) > 1:
        first, second, *_ = texts.values()
        raise Rejection(
            "reasoning",
            f"{where} has `{first}` and `{second}`, which differ; data.reasoning can keep only one",
        )
    return next(iter(texts))
