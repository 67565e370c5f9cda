"""The sample in data/raw: what the generator writes, and that test stands apart from training."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

import make_sample
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
    return [
        m.get("value") or m["content"]
        for m in spoken
        if m.get("from", m.get("role")) in ("gpt", "assistant")
    ]


def test_the_generator_writes_the_committed_files(tmp_path, monkeypatch):
    monkeypatch.setattr(make_sample, "RAW", tmp_path)
    make_sample.main()
    for path in RAW.glob("*.jsonl"):
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), (
            f"run scripts/make_sample.py: {path} is old"
        )


def test_the_sample_is_as_large_and_as_varied_as_promised(by_split):
    everything = [turns for split in SPLITS for turns in by_split[split]]
    assert len(everything) >= 1500
    assert sum(len(turns) > 1 for turns in everything) >= len(everything) / 5
    assert {turn.intent for turns in everything for turn in turns} == set(CALLS) | set(WORDS)


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_phrasings_stand_apart(by_split, held_out):
    for kind, phrasings in PHRASINGS.items():
        assert not set(phrasings["train"]) & set(phrasings[held_out]), kind
    used = {
        split: {turn.phrasing for turns in by_split[split] for turn in turns} for split in SPLITS
    }
    assert not used["train"] & used[held_out]


@pytest.mark.parametrize("held_out", ["test", "validation"])
def test_calls_stand_apart_in_follow_ups_too(by_split, held_out):
    calls = {
        split: {t.answer for turns in by_split[split] for t in turns if t.arguments}
        for split in SPLITS
    }
    assert not calls["train"] & calls[held_out]


def test_committed_rows_of_test_share_no_call_with_train():
    calls = {split: set() for split in SPLITS}
    for row in good_rows():
        calls[row["split"]] |= {text for text in answers(row) if '"arguments": {"' in text}
    assert len(calls["test"]) > 100
    assert not calls["test"] & (calls["train"] | calls["validation"])


def test_every_split_has_calls_of_every_intent():
    assert {(intent, split) for intent in SHARES for split in SPLITS if SHARES[intent][split]} == {
        (intent, split) for intent in CALLS for split in SPLITS
    }


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
    text = (ROOT / "scripts" / "gemma_finetune" / "models" / "corpus.yaml").read_text()
    names = {name for name, _, _ in CALLS.values()}
    assert not [name for name in names if name in text]
    asked = {
        re.sub(r"[^a-z ]", "", turn.said.lower())
        for turns in conversations("test", 180)
        for turn in turns
    }
    corpus = yaml.safe_load(text)
    told = [
        line
        for lines in [*corpus["records"].values(), *corpus["questions"].values()]
        for line in lines
    ]
    assert not asked & {re.sub(r"[^a-z ]", "", line) for line in told}
