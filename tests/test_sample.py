"""The sample in data/raw: what the generator writes, and that the splits share nothing."""

import hashlib
import json
import re
import shutil
from collections import Counter
from itertools import chain
from pathlib import Path

import pytest
import yaml

import convert
import make_sample
import validate
from sample.broken import BROKEN
from sample.dialogue import CALLS, PHRASINGS, SHARES, SPLITS, WORDS, conversations

ROOT = Path(__file__).parents[1]
RAW = ROOT / "data" / "raw"


@pytest.fixture(scope="module")
def by_split():
    return {split: conversations(split, make_sample.SIZES[split]) for split in SPLITS}


def good_rows():
    for path in sorted(RAW.glob("*.jsonl")):
        for line in path.read_text().splitlines():
            if line not in BROKEN[path.stem]:
                yield json.loads(line)


def answers(row):
    if "output" in row:
        return [row["output"]]
    spoken = row.get("conversations") or row["messages"]
    return [m.get("value") or m["content"] for m in spoken if is_answer(m)]


def is_answer(message):
    return message.get("from", message.get("role")) in ("gpt", "assistant")


def test_the_generator_writes_the_committed_files(tmp_path, monkeypatch):
    monkeypatch.setattr(make_sample, "RAW", tmp_path)
    make_sample.main()
    for path in RAW.glob("*.jsonl"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), (
            f"run scripts/make_sample.py: {path} is old"
        )


def test_the_sample_converts_to_the_conversations_in_dvc_lock(tmp_path, monkeypatch):
    """The parameters, the sample, and all code from a raw row to a conversation, to the byte."""
    shutil.copytree(RAW, tmp_path / "data" / "raw")
    shutil.copyfile(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    validate.main()
    convert.main()
    content = Path("data/converted/conversations.jsonl").read_bytes()
    listing = [{"md5": hashlib.md5(content).hexdigest(), "relpath": "conversations.jsonl"}]
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text())
    (out,) = lock["stages"]["convert"]["outs"]
    # DVC's hash of a folder.
    assert out["md5"] == hashlib.md5(json.dumps(listing).encode()).hexdigest() + ".dir"


def test_the_sample_is_as_large_and_as_varied_as_promised(by_split):
    everything = list(chain.from_iterable(by_split.values()))
    assert len(everything) >= 1500
    assert sum(len(turns) > 1 for turns in everything) >= len(everything) / 5
    intents = {turn.intent for turn in chain.from_iterable(everything)}
    assert intents == set(CALLS) | set(WORDS)


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_phrasings_stand_apart(by_split, held_out):
    for kind, phrasings in PHRASINGS.items():
        assert not set(phrasings["train"]) & set(phrasings[held_out]), kind

    def used(split):
        return {turn.phrasing for turn in chain.from_iterable(by_split[split])}

    assert not used("train") & used(held_out)


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_calls_stand_apart_in_follow_ups_too(by_split, held_out):
    def calls(split):
        return {turn.answer for turn in chain.from_iterable(by_split[split]) if turn.arguments}

    assert not calls("train") & calls(held_out)


def test_committed_rows_of_test_share_no_call_with_train():
    calls = {split: set() for split in SPLITS}
    for row in good_rows():
        calls[row["split"]] |= {text for text in answers(row) if '"arguments": {"' in text}
    assert len(calls["test"]) > 100
    assert not calls["test"] & (calls["train"] | calls["validation"])


def test_every_split_has_calls_of_every_intent():
    assert set(SHARES) == set(CALLS)
    for intent, shares in SHARES.items():
        assert all(shares[split] for split in SPLITS), intent


def test_an_answer_is_one_json_call_or_words():
    for row in good_rows():
        for answer in answers(row):
            assert answer in WORDS.values() or set(json.loads(answer)) == {"name", "arguments"}


def test_broken_rows_are_few_and_all_there():
    for name, lines in BROKEN.items():
        written = Counter((RAW / f"{name}.jsonl").read_text().splitlines())
        assert all(written[line] == 1 for line in lines)
    assert 30 <= sum(map(len, BROKEN.values())) <= 60


def test_the_pretraining_text_knows_nothing_of_the_task():
    text = (ROOT / "scripts" / "gemma_finetune" / "base" / "corpus.yaml").read_text()
    names = {name for name, _, _ in CALLS.values()}
    assert not [name for name in names if name in text]

    def letters(line):
        return re.sub(r"[^a-z ]", "", line)

    test = chain.from_iterable(conversations("test", 180))
    asked = {letters(turn.said.lower()) for turn in test}
    corpus = yaml.safe_load(text)
    lines = chain.from_iterable([*corpus["records"].values(), *corpus["questions"].values()])
    assert not asked & {letters(line) for line in lines}
