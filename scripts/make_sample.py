"""Writes the sample in data/raw: a home assistant that answers requests with one JSON call.

scripts/sample/{phrasings.yaml,values.py,dialogue.py,broken.py} ->
data/raw/{sharegpt,alpaca,chatml}.jsonl

    python scripts/make_sample.py

Every run writes the same bytes. The validation and test splits share no phrasing and no call with
training. Some rows are broken or duplicated on purpose, so that validation and deduplication have
something to find.
"""

import json
import random
from collections import Counter
from pathlib import Path

from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import aside
from sample.broken import broken_lines, duplicates
from sample.dialogue import SPLITS, Turn, conversations

RAW = Path("data/raw")
SIZES = {"train": 6000, "validation": 200, "test": 180}
SYSTEM = [
    "You are the assistant of this home.",
    "You run a smart home.",
    "Answer with one call or a short sentence.",
]


def sharegpt(turns: list[Turn], rng: random.Random) -> dict:
    spoken = []
    for turn in turns:
        spoken.append({"from": "human", "value": turn.said})
        spoken.append({"from": "gpt", "value": turn.answer})
    return {"conversations": spoken}


def alpaca(turns: list[Turn], rng: random.Random) -> dict:
    (turn,) = turns
    return {"instruction": turn.said, "input": "", "output": turn.answer}


def chatml(turns: list[Turn], rng: random.Random) -> dict:
    messages = []
    if rng.random() < 0.2:
        messages.append({"role": "system", "content": rng.choice(SYSTEM)})
    for turn in turns:
        messages.append({"role": "user", "content": turn.said})
        messages.append({"role": "assistant", "content": turn.answer})
    return {"messages": messages}


FORMATS = {"sharegpt": sharegpt, "alpaca": alpaca, "chatml": chatml}


def sample_rows(rng: random.Random) -> dict[str, list[dict]]:
    """The good rows of each file. Conversations of several turns do not go to Alpaca."""
    files: dict[str, list[dict]] = {name: [] for name in FORMATS}
    for split in SPLITS:
        for turns in conversations(split, SIZES[split]):
            shares = [30, 45, 25] if len(turns) == 1 else [55, 0, 45]
            name = rng.choices(list(files), shares)[0]
            files[name].append(FORMATS[name](turns, rng) | {"split": split})
    return files


def sample_lines(name: str, rows: list[dict], rng: random.Random) -> list[str]:
    """Lines of one file: the good rows in random order, with the others inserted among them."""
    rng.shuffle(rows)
    lines = [json.dumps(row) for row in rows]
    for line in duplicates(rows, rng) + broken_lines(name):
        lines.insert(rng.randrange(len(lines)), line)
    return lines


def main() -> None:
    rng = random.Random("rows")
    files = sample_rows(rng)
    for name, rows in files.items():
        lines = sample_lines(name, rows, rng)
        with aside(RAW / f"{name}.jsonl") as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        counts = Counter(row["split"] for row in rows)
        shown = ", ".join(f"{counts[split]} {split}" for split in SPLITS)
        print(f"{RAW / name}.jsonl: {len(lines)} rows, {shown}")


if __name__ == "__main__":
    run(main)
