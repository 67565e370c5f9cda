"""The data stages at scale: rows per second, CPU seconds and memory of each.

Makes synthetic conversations of realistic length (a tenth of them copies or near-copies) and runs
each stage on them. CPU seconds count where other work shares the machine. "Own" columns are those
of the stage's own process: what one machine must do, however many others work on the chunks.

- --ray also runs the stages on a Ray cluster of this one machine: what Ray costs.
- --theirs also does the work in Hugging Face datasets and in text-dedup, with another Python.

    python benchmarks/data.py --rows 1000000 [--tokenizer tokenizer.model] [--ray]

    # In an environment of their own, PYTHON below
    pip install datasets==5.2.0 text-dedup==0.4.0 psutil sentencepiece
    python benchmarks/data.py --rows 1000000 --theirs PYTHON
"""

import argparse
import itertools
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import psutil
from process import measure, memory

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("validate", "convert", "dedup", "format", "describe")
MAPPED = ("validate", "convert", "format")  # what datasets does, too
SEED = 0
SEQUENCE_LENGTH = 2048
THRESHOLD = 0.9
COPIES, NEAR_COPIES = 0.05, 0.05
COLUMNS = ("seconds", "rows/s", "CPU s", "rows/CPU s", "peak MB", "own CPU s", "own MB")

Turns = list[tuple[str, str]]  # (role, text)


def conversations(count: int) -> Iterator[Turns]:
    """Conversations of 1 to 3 exchanges.

    Words are drawn by Zipf's law. The lengths of questions and answers are log-normal.
    """
    rng = random.Random(SEED)
    words = [random_word(rng) for _ in range(30000)]
    weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(len(words))))
    recent: list[Turns] = []
    for _ in range(count):
        if recent and rng.random() < COPIES + NEAR_COPIES:
            turns = rng.choice(recent)
            if rng.random() < NEAR_COPIES / (COPIES + NEAR_COPIES):
                turns = [*turns[:-1], ("gpt", turns[-1][1] + " indeed")]
            yield turns
            continue

        turns = []
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            for role, mean in (("human", 3.2), ("gpt", 4.3)):
                length = int(min(600, rng.lognormvariate(mean, 0.8))) + 1
                turns.append((role, " ".join(rng.choices(words, cum_weights=weights, k=length))))
        if len(recent) < 1000:
            recent.append(turns)
        else:
            recent[rng.randrange(1000)] = turns
        yield turns


def random_word(rng: random.Random) -> str:
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    return "".join(rng.choices(letters, range(26, 0, -1), k=rng.randint(2, 9)))


def write_raw(folder: Path, count: int) -> None:
    """A third of the rows in each raw format, and all of them as {"text": …} for text-dedup."""
    folder.mkdir(parents=True)
    formats = (sharegpt, chatml, alpaca)
    files = [open(folder / f"{to_row.__name__}.jsonl", "w") for to_row in formats]
    with open(folder.parents[1] / "text.jsonl", "w") as plain:
        for number, turns in enumerate(conversations(count)):
            row = formats[number % 3](turns)
            files[number % 3].write(json.dumps(row) + "\n")
            text = "\n".join(text for _, text in turns)
            plain.write(json.dumps({"text": text}) + "\n")
    for file in files:
        file.close()


def sharegpt(turns: Turns) -> dict:
    return {"conversations": [{"from": role, "value": text} for role, text in turns]}


def chatml(turns: Turns) -> dict:
    roles = {"human": "user", "gpt": "assistant"}
    return {"messages": [{"role": roles[role], "content": text} for role, text in turns]}


def alpaca(turns: Turns) -> dict:
    texts = [text for _, text in turns]
    history = [list(pair) for pair in zip(texts[:-2:2], texts[1:-2:2], strict=True)]
    return {"instruction": texts[-2], "input": "", "output": texts[-1], "history": history}


def prepare(folder: Path, rows: int, tokenizer: Path) -> None:
    """A folder that the stages can run in."""
    import yaml

    write_raw(folder / "data/raw", rows)
    (folder / "models/base").mkdir(parents=True)
    shutil.copyfile(tokenizer, folder / "models/base/tokenizer.model")
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["train"]["sequence_length"] = SEQUENCE_LENGTH
    params["data"]["dedup_threshold"] = THRESHOLD
    params["data"]["max_lost_fraction"] = 1.0  # a tenth are copies
    (folder / "params.yaml").write_text(yaml.safe_dump(params))


class Cost(NamedTuple):
    """What a command took, with all its processes, and what its own process took."""

    seconds: float
    cpu: float
    peak: float  # MB
    own_cpu: float | None = None
    own_peak: float | None = None  # MB


def measure_stage(stage: str, folder: Path, cluster: "Cluster | None" = None) -> Cost:
    """Runs a stage, with its chunks on the cluster if there is one. Exits if it fails."""
    environment = os.environ | {"RAY_ADDRESS": cluster.address if cluster else ""}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    cluster_before = cluster.cpu() if cluster else 0.0
    cluster_cpu = cluster_before
    start = time.perf_counter()
    command = [sys.executable, str(ROOT / f"scripts/{stage}.py")]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    peak = own_cpu = own_peak = 0.0
    while process.poll() is None:
        total = memory(process.pid) + (memory(cluster.process.pid) if cluster else 0)
        peak = max(peak, total / 1e6)
        with suppress(psutil.Error):  # it has just ended
            own = psutil.Process(process.pid)
            own_peak = max(own_peak, own.memory_full_info().pss / 1e6)
            times = own.cpu_times()
            own_cpu = max(own_cpu, times.user + times.system)
        if cluster:
            cluster_cpu = cluster.cpu()
        time.sleep(0.2)
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"error: {stage} failed")

    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    cpu += cluster_cpu - cluster_before
    return Cost(seconds, cpu, peak, own_cpu, own_peak)


class Cluster:
    """A Ray cluster of this one machine."""

    def __init__(self, port: int = 6399):
        self.address = f"127.0.0.1:{port}"
        command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block"]
        options = [f"--port={port}", "--include-dashboard=false", "--disable-usage-stats"]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
        self._cpu: dict[int, float] = {}  # {process: CPU seconds}
        time.sleep(20)

    def cpu(self) -> float:
        """CPU seconds of its processes so far.

        Ended ones count as they were at the last call: nothing else adds them up.
        """
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):  # it has just ended
                times = process.cpu_times()
                self._cpu[process.pid] = times.user + times.system
        return sum(self._cpu.values())


@contextmanager
def ray_cluster() -> Iterator[Cluster]:
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.process.terminate()
        cluster.process.wait(60)


def theirs_map(folder: Path) -> None:
    """Validate, convert and format as the documentation of Hugging Face datasets would have it."""
    import re

    import datasets
    from sentencepiece import SentencePieceProcessor

    datasets.disable_progress_bars()
    tokenizer = SentencePieceProcessor(model_file="models/base/tokenizer.model")
    control = re.compile(r"<(pad|eos|bos|unk|mask|start_of_turn|end_of_turn|unused\d+)>")
    workers = {"num_proc": os.cpu_count()}
    roles = {"user": "human", "assistant": "gpt"}
    names = {"human": "user", "gpt": "model"}

    def canonical(row: dict) -> dict:
        if "messages" in row:
            pairs = [(roles.get(m["role"]), m["content"]) for m in row["messages"]]
        elif "instruction" in row:
            exchanges = [*(row["history"] or []), [row["instruction"], row["output"]]]
            texts = itertools.chain.from_iterable(exchanges)
            pairs = list(zip(itertools.cycle(("human", "gpt")), texts, strict=False))
        else:
            pairs = [(turn["from"], turn["value"]) for turn in row["conversations"]]
        return {"turns": [{"from": role, "value": (text or "").strip()} for role, text in pairs]}

    def valid(row: dict) -> bool:
        found = [turn["from"] for turn in row["turns"]]
        texts = [turn["value"] for turn in row["turns"]]
        alternate = found == ["human", "gpt"] * (len(found) // 2)
        return alternate and all(text and not control.search(text) for text in texts)

    def render(row: dict) -> dict:
        text = ""
        for turn in row["turns"]:
            text += f"<start_of_turn>{names[turn['from']]}\n{turn['value']}<end_of_turn>\n"
        return {"text": text, "tokens": len(tokenizer.encode(text))}

    parts = []
    for name in ("sharegpt", "chatml", "alpaca"):
        part = datasets.load_dataset(
            "json", data_files=f"data/raw/{name}.jsonl", split="train", cache_dir="cache"
        )
        parts.append(part.map(canonical, remove_columns=part.column_names, **workers))
    rows = datasets.concatenate_datasets(parts).filter(valid, **workers)
    rows = rows.map(render, remove_columns=["turns"], **workers)
    rows = rows.filter(lambda row: row["tokens"] <= SEQUENCE_LENGTH, **workers)
    rows.to_json("theirs.jsonl")


def run_theirs(python: str, rows: int, folder: Path) -> None:
    map_command = [python, __file__, "--map"]
    report("datasets: " + ", ".join(MAPPED), rows, Cost(*measure(map_command, folder)))

    options = (
        "--path json --split train --column text --data_files text.jsonl --output deduped "
        f"--cache_dir cache --ngram 3 --min_length 0 --threshold {THRESHOLD} --num_perm 128 "
        f"--batch_size 10000 --hash_func xxh3 --num_proc {os.cpu_count()}"
    )
    dedup_command = [python, "-m", "text_dedup.minhash", *options.split()]
    report("text-dedup: near-dedup (unverified)", rows, Cost(*measure(dedup_command, folder)))


def report(name: str, rows: int, cost: Cost) -> None:
    cells = f"{name:<38}{cost.seconds:>11.1f}{rows / cost.seconds:>11,.0f}"
    cells += f"{cost.cpu:>11.1f}{rows / cost.cpu:>11,.0f}{cost.peak:>11,.0f}"
    if cost.own_cpu is not None:
        cells += f"{cost.own_cpu:>11.1f}{cost.own_peak:>11,.0f}"
    print(cells, flush=True)


def report_stages(title: str, rows: int, folder: Path, cluster: Cluster | None = None) -> None:
    costs = {}
    for stage in STAGES:
        costs[stage] = measure_stage(stage, folder, cluster)
        report(f"{title}: {stage}", rows, costs[stage])
    mapped = [costs[stage] for stage in MAPPED]
    seconds = sum(cost.seconds for cost in mapped)
    cpu = sum(cost.cpu for cost in mapped)
    peak = max(cost.peak for cost in mapped)
    report(f"{title}: " + ", ".join(MAPPED), rows, Cost(seconds, cpu, peak))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--ray", action="store_true", help="also on a Ray cluster of this machine")
    parser.add_argument("--theirs", help="a Python that has datasets, text-dedup, sentencepiece")
    parser.add_argument("--tokenizer", type=Path, default=ROOT / "models/base/tokenizer.model")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, arguments.rows, arguments.tokenizer)
        size = sum(file.stat().st_size for file in (folder / "data/raw").iterdir())
        print(f"{arguments.rows:,} conversations, {size / 1e6:,.0f} MB, {os.cpu_count()} cores")
        print(" " * 38 + "".join(f"{column:>11}" for column in COLUMNS), flush=True)
        report_stages("ours", arguments.rows, folder)
        if arguments.ray:
            with ray_cluster() as cluster:
                report_stages("on Ray", arguments.rows, folder, cluster)
        if arguments.theirs:
            run_theirs(arguments.theirs, arguments.rows, folder)


if __name__ == "__main__":
    theirs_map(Path.cwd()) if "--map" in sys.argv else main()
