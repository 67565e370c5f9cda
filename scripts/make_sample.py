"""Writes the sample in data/raw: conversations with a home assistant that answers a request with one JSON call.

    python scripts/make_sample.py

scripts/sample/{phrasings.yaml,values.py,dialogue.py} -> data/raw/{sharegpt,alpaca,chatml}.jsonl, the same bytes each
time. Phrasings and calls of the test split stand apart from those of training, and so do validation's. Some rows are
broken or duplicated on purpose, so that validation and deduplication have honest work.
"""

import json
import random
from collections import Counter

from gemma_finetune.utils.cli import run
from gemma_finetune.utils.files import aside
from sample.broken import broken_lines, duplicates
from sample.dialogue import ASKED, CALLS, WORDS, Turn, follow_up, request

SIZES = {"train": 3000, "validation": 200, "test": 180}
SYSTEM = ["You are the assistant of this home.", "You run a smart home.", "Answer with one call or a short sentence."]
WEIGHTS = {"light_on": 1.5, "timer_label": 1.5, "alarm": 2.0, "play_room": 1.5, "list_add": 1.5} | {
    "stop_music": 0.5, "ask_duration": 0.7, "ask_time": 0.7, "ask_room": 0.7,
} | {kind: 0.35 for kind in ("help", "name", "thanks", "night", "privacy", "offline")}  # fmt: skip


def conversation(split: str, rng: random.Random) -> list[Turn]:
    """One request in two thirds of the cases, else two or three turns."""
    intents = [*CALLS, *WORDS]
    draw = lambda: rng.choices(intents, [WEIGHTS.get(intent, 1.0) for intent in intents])[0]  # noqa: E731
    turns = [request(draw(), split, rng)]
    while turns[-1].intent in ASKED or (len(turns) < 3 and rng.random() < 0.35):
        following = follow_up(turns[-1], split, rng) if rng.random() < 0.85 or turns[-1].intent in ASKED else None
        turns.append(following or request(draw(), split, rng))
    return turns


def conversations(split: str, size: int) -> list[list[Turn]]:
    """`size` conversations of one split, no two alike. Its own random numbers: no split moves another."""
    rng, found = random.Random(f"sample {split}"), {}
    while len(found) < size:
        turns = conversation(split, rng)
        found.setdefault(json.dumps([[turn.said, turn.answer] for turn in turns]).lower(), turns)
    return list(found.values())


def sharegpt(turns: list[Turn], split: str, rng: random.Random) -> dict:
    spoken = [part for turn in turns for part in (("human", turn.said), ("gpt", turn.answer))]
    return {"conversations": [{"from": who, "value": text} for who, text in spoken], "split": split}


def alpaca(turns: list[Turn], split: str, rng: random.Random) -> dict:
    (turn,) = turns
    return {"instruction": turn.said, "input": "", "output": turn.answer, "split": split}


def chatml(turns: list[Turn], split: str, rng: random.Random) -> dict:
    spoken = [part for turn in turns for part in (("user", turn.said), ("assistant", turn.answer))]
    system = [("system", rng.choice(SYSTEM))] if rng.random() < 0.2 else []
    return {"messages": [{"role": who, "content": text} for who, text in system + spoken], "split": split}


def main() -> None:
    files = {"sharegpt": [], "alpaca": [], "chatml": []}
    rng = random.Random("formats")
    for split, size in SIZES.items():
        for turns in conversations(split, size):
            single = len(turns) == 1
            name = rng.choices(list(files), [0.3, 0.45, 0.25] if single else [0.55, 0, 0.45])[0]
            files[name].append(globals()[name](turns, split, rng))
    counts = Counter(row["split"] for rows in files.values() for row in rows)
    for name, rows in files.items():
        rng.shuffle(rows)
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        for line in duplicates(name, rows, rng) + broken_lines(name):
            lines.insert(rng.randrange(len(lines)), line)
        with aside(f"data/raw/{name}.jsonl") as temporary:
            temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"data/raw/{name}.jsonl: {len(lines)} rows")
    print(", ".join(f"{count} {split}" for split, count in counts.items()))


if __name__ == "__main__":
    run(main)
