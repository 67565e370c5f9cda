"""How many planted near-duplicates the dedup stage finds, and how many look-alikes it removes.

Near-duplicates are copies of a row with some of its words edited, with other case and punctuation,
or with a sentence added or left out. Look-alikes are rows that share much text and are still
different: one template with other content, one question with other answers. Last, banking77
(--banking77 train.csv) with a 200-word instruction before every question: no row may be removed
that stays without it.

    python benchmarks/duplicates.py [--rows 2000] [--banking77 train.csv]
"""

import argparse
import csv
import itertools
import json
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import dedup as stage  # noqa: E402
from gemma_finetune.data.converter import content_id  # noqa: E402
from gemma_finetune.data.dedup import find_twins  # noqa: E402
from gemma_finetune.data.evidence import (  # noqa: E402
    evidence_of,
    evidence_similarity,
)
from gemma_finetune.data.shared_text import (  # noqa: E402
    SharedText,
)

THRESHOLD = 0.9
WORDS = 20_000


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--banking77", type=Path)
    arguments = parser.parse_args()
    writer = Writer(random.Random(0))
    near_duplicates(writer, arguments.rows)
    look_alikes(writer)
    if arguments.banking77:
        banking77(writer, arguments.banking77)


class Writer:
    """Text of words by Zipf's law, in sentences of 6 to 20 words."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        letters, weights = "etaoinshrdlucmfwypvbgkjqxz", range(26, 0, -1)
        self.words = []
        for _ in range(WORDS):
            self.words.append("".join(rng.choices(letters, weights, k=rng.randint(2, 9))))
        self.weights = list(itertools.accumulate(1 / (rank + 10) for rank in range(WORDS)))

    def text(self, words: int) -> str:
        sentences = []
        while words > 0:
            count = min(words, self.rng.randint(6, 20))
            found = self.rng.choices(self.words, cum_weights=self.weights, k=count)
            sentences.append(" ".join(found).capitalize() + ".")
            words -= count
        return " ".join(sentences)

    def row(self) -> dict:
        return conversation(
            self.text(self.rng.randint(20, 150)), self.text(self.rng.randint(20, 150))
        )

    def labelled_row(self) -> dict:
        question = "Is this a complaint about the price of the thing?"
        text = self.text(self.rng.randint(100, 200))
        return conversation(f"{text}\n\n{question}", self.rng.choice(("Yes", "No")))

    def edited(self, text: str, rate: float) -> str:
        words = text.split()
        for place in self.rng.sample(range(len(words)), round(rate * len(words))):
            words[place] = self.rng.choice(self.words)
        return " ".join(words)

    def respelled(self, text: str) -> str:
        return text.upper().replace(".", "!")

    def with_a_sentence_more(self, text: str) -> str:
        return f"{text} {self.text(6)}"

    def with_a_sentence_less(self, text: str) -> str:
        return text.partition(". ")[2] or text


def conversation(question: str, answer: str) -> dict:
    name = content_id([("human", question), ("gpt", answer)])
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"id": name, "conversations": turns}


def changed(row: dict, change: Callable[[str], str]) -> dict:
    return conversation(*(change(turn["value"]) for turn in row["conversations"]))


def edited_question(writer: Writer, row: dict) -> dict:
    """The row with 1 % of the words of its text edited, but not those of the question after it."""
    asked, answer = (turn["value"] for turn in row["conversations"])
    text, _, question = asked.partition("\n\n")
    return conversation(f"{writer.edited(text, 0.01)}\n\n{question}", answer)


def removed(rows: list[dict]) -> tuple[np.ndarray, SharedText]:
    """Which rows the stage removes, bool (rows,), and the text that it takes for shared."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "conversations.jsonl")
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        with open(path, "rb") as file:
            shared = stage.find_shared_text(file, path.stat().st_size)
            shared.save(Path(folder, "shared_text.npz"))
            file.seek(0)
            index = stage.build_index(file, THRESHOLD, Path(folder, "shared_text.npz"))
    twin, _ = find_twins(
        index, lambda numbers: evidence_of([rows[n] for n in numbers], shared), THRESHOLD
    )
    return twin >= 0, shared


def near_duplicates(writer: Writer, count: int) -> None:
    """Plants one changed copy of each row, and shows how many pairs at the threshold are found."""
    changes: dict[str, Callable[[str], str]] = {}
    for percent in (1, 2, 3, 5):
        changes[f"{percent} % of words edited"] = lambda text, p=percent: writer.edited(
            text, p / 100
        )
    changes["case and punctuation"] = writer.respelled
    changes["a sentence added"] = writer.with_a_sentence_more
    changes["a sentence left out"] = writer.with_a_sentence_less

    print("| near-duplicates | planted | at the threshold | found of these |\n|---|---:|---:|---:|")
    for name, change in [*changes.items(), ("1 % of words edited, a label", None)]:
        if change:
            originals = [writer.row() for _ in range(count)]
            copies = [changed(row, change) for row in originals]
        else:
            originals = [writer.labelled_row() for _ in range(count)]
            copies = [edited_question(writer, row) for row in originals]
        gone, shared = removed(originals + copies)
        similar = []
        for row, copy in zip(originals, copies, strict=True):
            similarity = evidence_similarity(*evidence_of([row, copy], shared))
            similar.append(similarity >= THRESHOLD)
        found = gone[:count] | gone[count:]
        share = found[similar].mean() if any(similar) else float("nan")
        print(f"| {name} | {count} | {sum(similar)} | {share:.3f} |")


def look_alikes(writer: Writer) -> None:
    """Rows that a comparison of whole texts would take for copies. None may be removed."""
    print("\n| look-alikes | rows | removed |\n|---|---:|---:|")
    for words in (20, 60, 200):
        instruction = writer.text(words)
        rows = []
        for number in range(200):
            content = writer.text(writer.rng.randint(4, 12))
            rows.append(
                conversation(f"{instruction}\n\n{content}", ("praise", "complaint")[number % 2])
            )
        print(f"| {words}-word instruction, two labels | 200 | {removed(rows)[0].sum()} |")
    for size in (2, 5, 10):
        rows = []
        for _ in range(100):
            instruction = writer.text(200)
            for _ in range(size):
                content = writer.text(writer.rng.randint(4, 12))
                rows.append(conversation(f"{instruction}\n\n{content}", "complaint"))
        gone = removed(rows)[0].sum()
        print(f"| 200-word instruction for {size} rows, one label | {len(rows)} | {gone} |")
    for texts in (1, 40):
        words = [writer.words[number * 50] for number in range(8)]
        rows = []
        for _ in range(texts):
            text = writer.text(150)
            for word in words:
                question = f"Does the text say anything about the {word} of the house?"
                rows.append(conversation(f"{text}\n\n{question}", "No"))
        print(
            f"| 8 questions, {texts} texts, one answer | {len(rows)} | {removed(rows)[0].sum()} |"
        )
    rows = []
    for number in range(200):
        system = f"Answer by this document: {writer.text(100)}"
        row = conversation("Is this a complaint?", ("Yes", "No")[number % 2])
        rows.append(row | {"id": f"{number:x}", "system": system})
    print(f"| a document in the system text | 200 | {removed(rows)[0].sum()} |")
    question = writer.text(100)
    rows = [conversation(question, writer.text(10)) for _ in range(200)]
    print(f"| one question, other answers | 200 | {removed(rows)[0].sum()} |")
    signature = writer.text(80)
    rows = [conversation(writer.text(15), f"{writer.text(8)}\n\n{signature}") for _ in range(200)]
    print(f"| a signature after every answer | 200 | {removed(rows)[0].sum()} |")
    before, after = writer.text(30)[:-1], writer.text(30)
    rows = []
    for number in range(200):
        question = f"{before} {writer.words[number * 50]} {after}"
        rows.append(conversation(question, ("yes", "no")[number % 2]))
    print(f"| a slot of one word in a sentence of 60 | 200 | {removed(rows)[0].sum()} |")
    lines = [writer.text(4) for _ in range(8)]
    answer = "\n".join(sorted(lines))
    rows = []
    for order in itertools.islice(itertools.permutations(lines), 0, None, 200):
        rows.append(conversation("Sort these:\n" + "\n".join(order), answer))
    print(f"| the same eight lines in other orders | {len(rows)} | {removed(rows)[0].sum()} |")


def banking77(writer: Writer, path: Path) -> None:
    """The same questions with and without an instruction before them."""
    with open(path, newline="", encoding="utf-8") as file:
        pairs = [(row["text"], row["category"]) for row in csv.DictReader(file)]
    instruction = writer.text(200)
    plain = removed([conversation(text, label) for text, label in pairs])[0]
    framed = removed([conversation(f"{instruction}\n\n{text}", label) for text, label in pairs])[0]
    print(
        f"\nbanking77, {len(pairs):,} rows: {plain.sum()} removed; with a 200-word instruction "
        f"{framed.sum()}, {(framed & ~plain).sum()} of them kept without it"
    )


if __name__ == "__main__":
    main()
