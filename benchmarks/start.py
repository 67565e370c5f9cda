"""What `train` does before its first step, at scale: seconds, CPU seconds and memory.

Makes synthetic formatted conversations of about 210 tokens (with Gemma's vocabulary) and runs
scripts/train.py on them for one step. Of all processes together: shared pages are counted once.

    python benchmarks/start.py --base models/base --rows 1000000
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path

import yaml
from process import measure

from data import random_word

ROOT = Path(__file__).resolve().parents[1]
WORDS = 30_000
SETTINGS = {"max_steps": 1, "warmup_steps": 0, "batch_size": 1, "sequence_length": 512}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, default=ROOT / "models/base")
    parser.add_argument("--rows", type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as name:
        folder = Path(name)
        prepare(folder, args.base, args.rows)
        seconds, cpu, peak = measure([sys.executable, ROOT / "scripts/train.py"], folder)
    print(f"{args.rows:,} rows: {seconds:.0f} s, {cpu:.0f} CPU s, peak {peak:,.0f} MB")


def prepare(folder: Path, base: Path, count: int) -> None:
    """A folder that `train` can run in."""
    shutil.copytree(base, folder / "models/base")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["train"] |= SETTINGS
    (folder / "params.yaml").write_text(yaml.safe_dump(params))

    formatted = folder / "data/formatted"
    formatted.mkdir(parents=True)
    rows = conversations()
    for split, number in (("validation", 200), ("train", count)):
        with open(formatted / f"{split}.jsonl", "w") as file:
            for _ in range(number):
                file.write(json.dumps(next(rows)) + "\n")


def conversations() -> Iterator[dict]:
    """Formatted rows without end. Words are drawn by Zipf's law, lengths are log-normal."""
    rng = random.Random(0)
    words = [random_word(rng) for _ in range(WORDS)]
    weights = list(accumulate(1 / (rank + 10) for rank in range(WORDS)))

    def draw(mean: float, most: int) -> str:
        length = int(min(most, rng.lognormvariate(mean, 0.5))) + 1
        return " ".join(rng.choices(words, cum_weights=weights, k=length))

    while True:
        question, answer = draw(3.0, 60), draw(3.75, 90)
        messages = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        text = (
            f"<start_of_turn>user\n{question}<end_of_turn>\n"
            f"<start_of_turn>model\n{answer}<end_of_turn>\n"
        )
        yield {"id": f"{rng.getrandbits(64):016x}", "messages": messages, "text": text}


if __name__ == "__main__":
    main()
