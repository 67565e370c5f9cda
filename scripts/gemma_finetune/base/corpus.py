"""The tiny base's pretraining text, drawn from a seed: everyday household English and plain
records.

It holds nothing of the sample's task: no request is answered by a call, and no function is named.
What it practises is what a fine-tuned model builds on: requests of other kinds answered by a record
of their values, follow-ups that change one value, copying, numbers and times, fixed questions. The
sentences are in corpus.yaml.
"""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from gemma_finetune.base.corpus_words import NUMBERS

Turns = list[tuple[str, str]]  # (request, answer); plain text has no request

TEXT = yaml.safe_load(Path(__file__).with_name("corpus.yaml").read_text(encoding="utf-8"))
WORDS, RECORDS, QUESTIONS = TEXT["words"], TEXT["records"], TEXT["questions"]
SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")
CHOICE = re.compile(r"\(([^)]*)\)")
EVERY_WORD = sorted(set(re.findall(r"[A-Za-z]+", str(TEXT))))
SYLLABLES = "b d f g k l m n p r s t st tr ch".split()


def conversations(seed: int) -> Iterator[Turns]:
    """Endless conversations and plain texts."""
    rng = random.Random(f"corpus {seed}")
    while True:
        yield rng.choices(list(MIX), MIX.values())[0](rng)


def records(rng: random.Random) -> Turns:
    """A request answered by a record, and follow-ups that change a value, undo it, or turn to
    something else.
    """
    kind = rng.choice(list(RECORDS))
    text, values, slots = fill(rng.choice(RECORDS[kind]), rng)
    values = in_order(kind, values)
    turns = [(say(text, rng), record(kind, values))]
    while len(turns) < 4 and rng.random() < 0.45:
        choice = rng.random()
        if choice < 0.15:
            first = dict(list(values.items())[:1])
            return [*turns, (say(rng.choice(TEXT["undo"]), rng), record("undo", first))]
        if choice < 0.3:
            other = records if rng.random() < 0.7 else questions
            return turns + other(rng)[: 4 - len(turns)]
        key = rng.choice(list(values))
        said, value = draw(slots[key], rng)
        values = values | {key: value}
        turns.append(
            (say(rng.choice(TEXT["changes"]).replace("{}", said), rng), record(kind, values))
        )
    return turns


def asking(rng: random.Random) -> Turns:
    """A record that is asked for value by value."""
    kind = rng.choice(list(RECORDS))
    _, values, slots = fill(RECORDS[kind][0], rng)
    request = rng.choice(
        ["a {} record", "new {} record", "i have a {} record", "write a {} record", "{}"]
    )
    turns, answers, request = [], {}, request.replace("{}", kind)
    for key in values:
        turns.append((say(request, rng), f"Which {key}?"))
        said, answers[key] = draw(slots[key], rng)
        request = rng.choice(
            ["{}", "it is {}", "it was {}", "{} of course", "that is {}", "{} this time"]
        )
        request = request.replace("{}", said)
    return [*turns, (say(request, rng), record(kind, answers))]


def copying(rng: random.Random) -> Turns:
    """Words that say nothing together, said again or listed."""
    words = [random_word(rng) for _ in range(rng.randint(1, 10))]
    said = rng.choice([" and ", ", ", " "]).join(words)
    if rng.random() < 0.6:
        return [(rng.choice(["repeat {}", "say {}", "again {}", "{}"]).replace("{}", said), said)]
    return [
        (
            rng.choice(["a list of {}", "list {}", "note down {}"]).replace("{}", said),
            record("list", words),
        )
    ]


def numbers(rng: random.Random) -> Turns:
    """Numbers, shares and times in words, written in digits."""
    turns = []
    for _ in range(rng.randint(1, 4)):
        slot = rng.choice([*NUMBERS, "time"])
        said, value = draw(slot, rng)
        if rng.random() < 0.5:
            request = rng.choice(["{} in digits", "write {} in digits", "what is {} in digits"])
            turns.append((request.replace("{}", said), str(value)))
        else:
            request = rng.choice(["a number record, {}", "number record {}", "record {}"])
            turns.append((request.replace("{}", said), record("number", {slot: value})))
    return turns


def questions(rng: random.Random) -> Turns:
    """A fixed question, asked in one of many ways."""
    answer = rng.choice(list(QUESTIONS))
    return [(say(rng.choice(QUESTIONS[answer]), rng), answer)]


def stories(rng: random.Random) -> Turns:
    """Plain text."""
    sentences = [fill(rng.choice(TEXT["stories"]), rng)[0] for _ in range(rng.randint(2, 4))]
    return [("", " ".join(sentence[0].upper() + sentence[1:] + "." for sentence in sentences))]


MIX = {records: 9, asking: 1, copying: 2, numbers: 4, questions: 1.5, stories: 1}


def record(kind: str, values: dict | list) -> str:
    return json.dumps({"kind": kind, "values": values})


def in_order(kind: str, values: dict) -> dict:
    """Values in the order of the kind's first pattern, however they were said."""
    keys = [match[2] or match[1] for match in SLOT.finditer(RECORDS[kind][0])]
    return {key: values[key] for key in keys if key in values} | values


def fill(pattern: str, rng: random.Random) -> tuple[str, dict, dict]:
    """(what is said, key -> value, key -> slot) of a pattern."""
    values, slots = {}, {}

    def one(match):
        key = match[2] or match[1]
        said, values[key] = draw(match[1], rng)
        slots[key] = match[1]
        return said

    pattern = CHOICE.sub(lambda match: rng.choice(match[1].split("|")), pattern)
    return re.sub(" +", " ", SLOT.sub(one, pattern)).strip(), values, slots


def draw(slot: str, rng: random.Random) -> tuple[str, int | str]:
    """(what is said, the value it stands for)."""
    if slot in WORDS:
        word = rng.choice(WORDS[slot])
        return word, word
    draw_value, say_value = NUMBERS[slot]
    value = draw_value(rng)
    return say_value(value, rng), value


def random_word(rng: random.Random) -> str:
    """A word, a number, a name_with_underscores, or syllables that nobody knows, which can only be
    copied.
    """
    choice = rng.random()
    if choice < 0.2:
        return "".join(
            rng.choice(SYLLABLES) + rng.choice("aeiou") for _ in range(rng.randint(1, 3))
        )
    if choice < 0.35:
        return str(rng.randrange(1000))
    if choice < 0.55:
        return f"{listed_word(rng)}_{listed_word(rng)}".replace(" ", "_")
    return rng.choice(EVERY_WORD) if choice < 0.75 else listed_word(rng)


def listed_word(rng: random.Random) -> str:
    return rng.choice(WORDS[rng.choice(list(WORDS))])


def say(text: str, rng: random.Random) -> str:
    """Now and then polite, misspelt, or written with a capital and a full stop."""
    if rng.random() < 0.2:
        text = f"{rng.choice(TEXT['polite'])} {text}"
    if rng.random() < 0.1:
        text += rng.choice([" please", " now", " thanks", " for me", " today"])
    if rng.random() < 0.05:
        text = misspell(text, rng)
    if rng.random() < 0.6:
        return text.replace(",", "")
    return text[0].upper() + re.sub(r"\bi\b", "I", text[1:]) + rng.choice(".....!?")


def misspell(text: str, rng: random.Random) -> str:
    """Drops, doubles or changes one character."""
    at = rng.randrange(1, max(2, len(text) - 1))
    return (
        text[:at] + rng.choice(["", text[at : at + 1] * 2, rng.choice("aeinorst")]) + text[at + 1 :]
    )
