"""A tiny FunctionGemma that knows a few conversations by heart: what makes calls in the tests."""

import json
import shutil
from pathlib import Path

from function_cases import ACTIVATION
from gemma_finetune.formats.function_template import render

PREFILL_LENGTHS, CACHE_LENGTH = (32,), 256
BATCH = 16  # conversations a step
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "set_light",
            "description": "Sets a light.",
            "parameters": {
                "type": "object",
                "properties": {
                    "room": {"type": "string"},
                    "level": {"type": "integer"},
                    "on": {"type": "boolean"},
                },
                "required": ["room"],
            },
        },
    },
    {"type": "function", "function": {"name": "get_time", "description": ""}},
]
# The same as an app may have them: other keys, and in another order.
APP_TOOLS = [
    {
        "function": {
            "strict": True,
            "parameters": {
                "required": ["room"],
                "properties": {
                    "on": {"type": "boolean", "default": False},
                    "level": {"type": "integer", "title": "Level"},
                    "room": {"type": "string"},
                },
                "additionalProperties": False,
                "type": "object",
            },
            "description": "Sets a light.",
            "name": "set_light",
        },
        "type": "function",
    },
    {"type": "function", "function": {"parameters": {}, "name": "get_time"}},
]
SYSTEM = {"role": "system", "content": ACTIVATION}


def user(text):
    return {"role": "user", "content": text}


def assistant(text=None, *calls):
    message = {"role": "assistant"} | ({"content": text} if text else {})
    made = []
    for name, arguments in calls:
        made.append({"type": "function", "function": {"name": name, "arguments": arguments}})
    return message | ({"tool_calls": made} if made else {})


def tool(**responses):
    content = [{"name": name, "response": result} for name, result in responses.items()]
    return {"role": "tool", "content": content}


ONE = [
    SYSTEM,
    user("Hall light"),
    assistant(None, ("set_light", {"level": 40, "on": True, "room": "hall"})),
    tool(set_light={"ok": True}),
    assistant("The light is on."),
    user("Thanks"),
    assistant("Welcome."),
]
TWO = [
    SYSTEM,
    user("Light and time"),
    assistant("Yes.", ("set_light", {"room": "hall"}), ("get_time", {})),
    tool(set_light={"ok": True}, get_time={"result": "ten"}),
    assistant("It is ten."),
]
WORDS = [SYSTEM, user("Hello"), assistant("Hello!")]
CONVERSATIONS = (ONE, TWO, WORDS)


def train_vocabulary(path: Path, conversations=CONVERSATIONS) -> Path:
    """A vocabulary with the seven pieces, in which the conversations are short."""
    from conftest import train_tokenizer
    from gemma_finetune.config import FUNCTION_PIECES

    texts = [render(messages, TOOLS) for messages in conversations]
    return train_tokenizer(path, 440, FUNCTION_PIECES, texts)


def write_model(
    directory: Path, tokenizer_path: Path, steps: int = 120, conversations=CONVERSATIONS
) -> float:
    """Writes the model in Hugging Face layout. Returns its loss on the conversations."""
    import torch
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    from gemma_finetune.formats.tokenizer import GemmaTokenizer

    tokenizer = GemmaTokenizer(tokenizer_path)
    torch.manual_seed(0)
    config = Gemma3TextConfig(
        vocab_size=tokenizer.vocabulary_size,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=6,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        query_pre_attn_scalar=32,
        sliding_window=64,
        layer_types=["sliding_attention"] * 5 + ["full_attention"],
        max_position_embeddings=1024,
        pad_token_id=None,
    )
    model = Gemma3ForCausalLM(config).train()
    rows = []
    for messages in conversations:
        ids, _ = tokenizer.encode_conversation(render(messages, TOOLS))
        rows.append(ids)
    length = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad] * (length - len(row)) for row in rows])
    labels = torch.where(ids == tokenizer.pad, -100, ids)

    optimizer = torch.optim.Adam(model.parameters(), 4e-3)
    for _ in range(steps):
        chosen = torch.randperm(len(rows))[:BATCH] if len(rows) > BATCH else slice(None)
        loss = model(input_ids=ids[chosen], labels=labels[chosen]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    model.save_pretrained(directory)
    shutil.copyfile(tokenizer_path, directory / "tokenizer.model")
    tokens = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}
    tokens |= {"unk_token": "<unk>", "tokenizer_class": "GemmaTokenizer"}
    (directory / "tokenizer_config.json").write_text(json.dumps(tokens))
    return loss.item()
