"""Canonical conversations as raw rows of every format: what the data scripts have to read."""

from gemma_finetune.data.converter import to_messages, to_openai_tools


def to_sharegpt(conversation):
    return pick(conversation, "system", "tools", "conversations", "split")


def to_chatml(conversation):
    tools = {"tools": to_openai_tools(conversation)} if "tools" in conversation else {}
    return {"messages": to_messages(conversation)} | tools | pick(conversation, "split")


def to_chatml_text(conversation):
    messages = to_messages(conversation)
    turns = [f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in messages]
    return {"text": "".join(turns)} | pick(conversation, "split")


def to_alpaca(conversation):
    """The last exchange is instruction and output, earlier ones are history."""
    texts = [turn["value"] for turn in conversation["conversations"]]
    *history, (instruction, output) = zip(texts[::2], texts[1::2], strict=True)
    row = {"instruction": instruction, "input": "", "output": output}
    if history:
        row["history"] = [list(pair) for pair in history]
    return row | pick(conversation, "system", "split")


def pick(conversation, *keys):
    return {key: conversation[key] for key in keys if key in conversation}
