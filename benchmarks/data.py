"""The data stages at scale, beside the same work in Hugging Face datasets and in text-dedup, in one
run.

Makes synthetic conversations of realistic length (a tenth of them copies or near-copies), runs each
stage on them, and prints rows per second, CPU seconds and peak memory of all its processes. CPU
seconds count where other work shares the machine. The tokenizer is models/base/tokenizer.model, or
the one named.

    # In an environment of their own, PYTHON below
    pip install datasets==5.2.0 text-dedup==0.4.0 psutil
    python benchmarks/data.py --rows 1000000 --theirs PYTHON [--tokenizer tokenizer.model]
"""

import argparse
import itertools
import json
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

from process import measure

ROOT = Path(__file__).resolve().parents[1]
SEED = 0
SEQUENCE_LENGTH = 2048
THRESHOLD = 0.9
COPIES, NEAR_COPIES = 0.05, 0.05


def conversations(count):
    """`count` lists of (role, text): words by Zipf's law, question and answer lengths log-normal, 1
    to 3 exchanges.
    """
    rng = random.Random(SEED)
    words = [
        "".join(rng.choices("etaoinshrdlucmfwypvbgkjqxz", range(26, 0, -1), k=rng.randint(2, 9)))
        for _ in range(30000)
    ]
    weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))
    recent = []
    for _ in range(count):
        if recent and rng.random() < COPIES + NEAR_COPIES:
            turns = rng.choice(recent)
            if rng.random() < NEAR_COPIES / (COPIES + NEAR_COPIES):
                turns = [*turns[:-1], ("gpt", turns[-1][1] + " indeed")]
            yield turns
            continue
        turns = []
        for n in range(2 * rng.choice([1, 1, 1, 2, 3])):
            length = int(min(600, rng.lognormvariate(4.3 if n % 2 else 3.2, 0.8))) + 1
            turns.append(
                (
                    ("human", "gpt")[n % 2],
                    " ".join(rng.choices(words, cum_weights=weights, k=length)),
                )
            )
        if len(recent) < 1000:
            recent.append(turns)
        else:
            recent[rng.randrange(1000)] = turns
        yield turns


def write_raw(folder, count):
    """A third of the rows in each raw format, and all of them as {"text": …} for text-dedup."""
    folder.mkdir(parents=True)
    files = [open(folder / f"{name}.jsonl", "w") for name in ("sharegpt", "chatml", "alpaca")]
    with open(folder.parents[1] / "text.jsonl", "w") as plain:
        for n, turns in enumerate(conversations(count)):
            files[n % 3].write(json.dumps((sharegpt, chatml, alpaca)[n % 3](turns)) + "\n")
            plain.write(json.dumps({"text": "\n".join(text for _, text in turns)}) + "\n")
    for file in files:
        file.close()


def sharegpt(turns):
    return {"conversations": [{"from": role, "value": text} for role, text in turns]}


def chatml(turns):
    roles = {"human": "user", "gpt": "assistant"}
    return {"messages": [{"role": roles[role], "content": text} for role, text in turns]}


def alpaca(turns):
    texts = [text for _, text in turns]
    history = [list(pair) for pair in zip(texts[:-2:2], texts[1:-2:2], strict=True)]
    return {"instruction": texts[-2], "input": "", "output": texts[-1], "history": history}


def prepare(folder, rows, tokenizer):
    """A folder that the stages can run in."""
    import yaml

    write_raw(folder / "data/raw", rows)
    (folder / "models/base").mkdir(parents=True)
    shutil.copyfile(tokenizer, folder / "models/base/tokenizer.model")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["train"]["sequence_length"] = SEQUENCE_LENGTH
    params["data"]["dedup_threshold"] = THRESHOLD
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


def theirs_map(folder):
    """Validate, convert and format with Hugging Face datasets, as its documentation would have
    it.
    """
    import re

    import datasets
    from sentencepiece import SentencePieceProcessor

    datasets.disable_progress_bars()
    tokenizer = SentencePieceProcessor(model_file="models/base/tokenizer.model")
    control = re.compile(r"<(pad|eos|bos|unk|mask|start_of_turn|end_of_turn|unused\d+)>")
    workers = {"num_proc": os.cpu_count()}

    def canonical(row):
        if "messages" in row:
            roles = {"user": "human", "assistant": "gpt"}
            turns = [
                {"from": roles.get(m["role"]), "value": (m["content"] or "").strip()}
                for m in row["messages"]
            ]
        elif "instruction" in row:
            pairs = [*(row["history"] or []), [row["instruction"], row["output"]]]
            turns = [
                {"from": f, "value": t.strip()}
                for p in pairs
                for f, t in zip(("human", "gpt"), p, strict=True)
            ]
        else:
            turns = [
                {"from": t["from"], "value": (t["value"] or "").strip()}
                for t in row["conversations"]
            ]
        return {"turns": turns}

    def valid(row):
        expected = [("human", "gpt")[n % 2] for n in range(len(row["turns"]))]
        alternate = [t["from"] for t in row["turns"]] == expected and len(expected) % 2 == 0
        return alternate and all(
            t["value"] and not control.search(t["value"]) for t in row["turns"]
        )

    def render(row):
        names = {"human": "user", "gpt": "model"}
        turns = (
            f"<start_of_turn>{names[t['from']]}\n{t['value']}<end_of_turn>\n" for t in row["turns"]
        )
        text = "".join(turns)
        return {"text": text, "tokens": len(tokenizer.encode(text))}

    parts = []
    for name in ("sharegpt", "chatml", "alpaca"):
        part = datasets.load_dataset(
            "json", data_files=f"data/raw/{name}.jsonl", split="train", cache_dir="cache"
        )
        parts.append(part.map(canonical, remove_columns=part.column_names, **workers))
    rows = (
        datasets.concatenate_datasets(parts)
        .filter(valid, **workers)
        .map(render, remove_columns=["turns"], **workers)
    )
    rows.filter(lambda row: row["tokens"] <= SEQUENCE_LENGTH, **workers).to_json("theirs.jsonl")


def report(name, rows, seconds, cpu, peak):
    print(
        f"{name:<38}{seconds:>9.1f}{rows / seconds:>11,.0f}{cpu:>9.1f}{rows / cpu:>13,.0f}{peak:>9,.0f}",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument(
        "--theirs",
        default=sys.executable,
        help="a Python that has datasets, text-dedup and sentencepiece",
    )
    parser.add_argument("--tokenizer", default=ROOT / "models/base/tokenizer.model")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        prepare(folder, arguments.rows, arguments.tokenizer)
        size = sum(file.stat().st_size for file in (folder / "data/raw").iterdir())
        print(f"{arguments.rows:,} conversations, {size / 1e6:,.0f} MB, {os.cpu_count()} cores")
        print(f"{'':<38}{'seconds':>9}{'rows/s':>11}{'CPU s':>9}{'rows/CPU s':>13}{'peak MB':>9}")
        ours = {}
        for stage in ("validate", "convert", "dedup", "format"):
            ours[stage] = measure([sys.executable, ROOT / f"scripts/{stage}.py"], folder)
            report(f"ours: {stage}", arguments.rows, *ours[stage])
        mapped = [ours[stage] for stage in ("validate", "convert", "format")]
        report("ours: validate + convert + format", arguments.rows, *map(sum, list(zip(*mapped, strict=True))[:2]),
               max(peak for *_, peak in mapped))  # fmt: skip
        report("datasets: validate + convert + format", arguments.rows,
               *measure([arguments.theirs, __file__, "--map"], folder))  # fmt: skip
        options = "--path json --split train --column text --data_files text.jsonl --output deduped --cache_dir cache"
        options += f" --ngram 3 --min_length 0 --threshold {THRESHOLD} --num_perm 128 --batch_size 10000 --hash_func xxh3"
        command = [
            arguments.theirs,
            "-m",
            "text_dedup.minhash",
            *options.split(),
            "--num_proc",
            str(os.cpu_count()),
        ]
        report("text-dedup: near-dedup (unverified)", arguments.rows, *measure(command, folder))


if __name__ == "__main__":
    theirs_map(Path.cwd()) if "--map" in sys.argv else main()
