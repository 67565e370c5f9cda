"""What the tests of the data scripts share: conversations, raw files, and running the stages."""

import importlib
import json
from pathlib import Path

import pytest

from gemma_finetune.data.converter import canonical
from gemma_finetune.data.loader import find_files
from gemma_finetune.utils.errors import UserError
from raw_formats import to_sharegpt

STAGES = ("validate", "convert", "dedup", "format", "describe")
SPLITS = ("train", "validation", "test")
# More tokens than the length that tests train with.
LONG = canonical([("human", " ".join(["light"] * 300)), ("gpt", "on")], "train", {})
NAMES = "Ada Ben Cleo Dan Eva Finn Gus Hana Ivo Jana".split()


def conversation(n, split=None):
    question = f"What is the number of {NAMES[n % 10]} in list {n}?"
    answer = f"{NAMES[n % 7]} has the number {n * 7}."
    return canonical([("human", question), ("gpt", answer)], split, {})


def write_raw(conversations, name="data/raw/a.jsonl", to_row=to_sharegpt):
    rows = [json.dumps(to_row(conversation)) + "\n" for conversation in conversations]
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("".join(rows))


def append_raw(line, name="data/raw/a.jsonl"):
    with open(name, "a") as file:
        file.write(line + "\n")


def read(name):
    return [json.loads(line) for line in Path(name).read_text().splitlines()]


def metrics(name):
    return json.loads(Path(f"metrics/{name}.json").read_text())


def run(*stages):
    for stage in stages or STAGES:
        importlib.import_module(stage).main()


def split_of_rows():
    splits = {}
    for split in SPLITS:
        for row in read(f"data/formatted/{split}.jsonl"):
            splits[row["id"]] = split
    return splits


def files_of(*folders):
    paths = [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in paths}


def refusal(raw="data/raw"):
    """What is said of data.raw that is refused."""
    with pytest.raises(UserError) as error:
        find_files(raw)
    return str(error.value)
