"""Writes the sample in data/raw: conversations with a home assistant that answers a request with
one JSON call.

    python scripts/make_sample.py

scripts/sample/{phrasings.yaml,values.py,dialogue.py,broken.py} ->
data/raw/{sharegpt,alpaca,chatml}.jsonl, the same bytes each time. Phrasings and calls of the test
split stand apart from those of training, and so do validation's. Some rows are broken or duplicated
on purpose, so that validation and deduplication have honest work.
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
    spoken = [part for turn in turns for part in (("human", turn.said), ("gpt", turn.answer))]
    return {"conversations": [{"from": who, "value": text} for who, text in spoken]}


def alpaca(turns: list[Turn], rng: random.Random) -> dict:
    (turn,) = turns
    return {"instruction": turn.said, "input": "", "output": turn.answer}


def chatml(turns: list[Turn], rng: random.Random) -> dict:
    spoken = [part for turn in turns for part in (("user", turn.said), ("assistant", turn.answer))]
    system = [("system", rng.choice(SYSTEM))] if rng.random() < 0.2 else []
    return {"messages": [{"role": who, "content": text} for who, text in system + spoken]}


FORMATS = {"sharegpt": sharegpt, "alpaca": alpaca, "chatml": chatml}


def sample_rows(rng: random.Random) -> dict[str, list[dict]]:
    """The good rows of each file. Alpaca has no turns, so conversations of several go to the
    others.
    """
    files = {name: [] for name in FORMATS}
    for split in SPLITS:
        for turns in conversations(split, SIZES[split]):
            name = rng.choices(list(files), [30, 45, 25] if len(turns) == 1 else [55, 0, 45])[0]
            files[name].append(FORMATS[name](turns, rng) | {"split": split})
    return files


def sample_lines(name: str, rows: list[dict], rng: random.Random) -> list[str]:
    """Lines of one file: the good rows in random order, the others strewn among them."""
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
        splits = Counter(row["split"] for row in rows)
        print(
            f"{RAW / name}.jsonl: {len(lines)} rows, "
            + ", ".join(f"{splits[split]} {split}" for split in SPLITS)
        )


if __name__ == "__main__":
    run(main)
