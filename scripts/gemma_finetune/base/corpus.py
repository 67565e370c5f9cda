"""The tiny base's pretraining text, drawn from a seed: everyday English and plain records.

It contains nothing of the sample's task: no request is answered by a call, and no function is
named. It practises what a fine-tuned model builds on: requests of other kinds that are answered by
a record of their values, follow-ups that change one value, copying, numbers and times, fixed
questions. The sentences are in corpus.yaml.
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
        (kind,) = rng.choices(list(MIX), list(MIX.values()))
        yield kind(rng)


def records(rng: random.Random) -> Turns:
    """A request answered by a record, and follow-ups.

    A follow-up changes a value, undoes the record, or turns to something else; the latter two end
    the conversation.
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
        request = rng.choice(TEXT["changes"]).replace("{}", said)
        turns.append((say(request, rng), record(kind, values)))
    return turns


def asking(rng: random.Random) -> Turns:
    """A record that is asked for value by value."""
    kind = rng.choice(list(RECORDS))
    _, values, slots = fill(RECORDS[kind][0], rng)
    openings = ["a {} record", "new {} record", "i have a {} record", "write a {} record", "{}"]
    request = rng.choice(openings).replace("{}", kind)
    replies = ["{}", "it is {}", "it was {}", "{} of course", "that is {}", "{} this time"]
    turns: Turns = []
    answers = {}
    for key in values:
        turns.append((say(request, rng), f"Which {key}?"))
        said, answers[key] = draw(slots[key], rng)
        request = rng.choice(replies).replace("{}", said)
    return [*turns, (say(request, rng), record(kind, answers))]


def copying(rng: random.Random) -> Turns:
    """Words without a meaning together, repeated or listed."""
    words = [random_word(rng) for _ in range(rng.randint(1, 10))]
    said = rng.choice([" and ", ", ", " "]).join(words)
    if rng.random() < 0.6:
        request, answer = rng.choice(["repeat {}", "say {}", "again {}", "{}"]), said
    else:
        request = rng.choice(["a list of {}", "list {}", "note down {}"])
        answer = record("list", words)
    return [(request.replace("{}", said), answer)]


def numbers(rng: random.Random) -> Turns:
    """Numbers, shares and times in words, to be written in digits."""
    turns: Turns = []
    for _ in range(rng.randint(1, 4)):
        slot = rng.choice([*NUMBERS, "time"])
        said, value = draw(slot, rng)
        if rng.random() < 0.5:
            request = rng.choice(["{} in digits", "write {} in digits", "what is {} in digits"])
            answer = str(value)
        else:
            request = rng.choice(["a number record, {}", "number record {}", "record {}"])
            answer = record("number", {slot: value})
        turns.append((request.replace("{}", said), answer))
    return turns


def questions(rng: random.Random) -> Turns:
    """A fixed question, asked in one of many ways."""
    answer = rng.choice(list(QUESTIONS))
    return [(say(rng.choice(QUESTIONS[answer]), rng), answer)]


def stories(rng: random.Random) -> Turns:
    """Plain text."""
    sentences = []
    for _ in range(rng.randint(2, 4)):
        text, _, _ = fill(rng.choice(TEXT["stories"]), rng)
        sentences.append(f"{text[0].upper()}{text[1:]}.")
    return [("", " ".join(sentences))]


# kind of conversation -> how often, relative to the others
MIX = {records: 9, asking: 1, copying: 2, numbers: 4, questions: 1.5, stories: 1}


def record(kind: str, values: dict | list) -> str:
    """The answer that the tiny base learns in place of a call."""
    return json.dumps({"kind": kind, "values": values})


def in_order(kind: str, values: dict) -> dict:
    """`values` in the order of the kind's first pattern, whatever pattern was used."""
    keys = [match[2] or match[1] for match in SLOT.finditer(RECORDS[kind][0])]
    return {key: values[key] for key in keys if key in values} | values


def fill(pattern: str, rng: random.Random) -> tuple[str, dict, dict]:
    """(what is said, key -> value, key -> slot) of a pattern."""
    values: dict[str, int | str] = {}
    slots: dict[str, str] = {}

    def one(match: re.Match) -> str:
        key = match[2] or match[1]
        said, values[key] = draw(match[1], rng)
        slots[key] = match[1]
        return said

    pattern = CHOICE.sub(lambda match: rng.choice(match[1].split("|")), pattern)
    text = SLOT.sub(one, pattern)
    return re.sub(" +", " ", text).strip(), values, slots


def draw(slot: str, rng: random.Random) -> tuple[str, int | str]:
    """(what is said, the value it stands for)."""
    if slot in WORDS:
        word = rng.choice(WORDS[slot])
        return word, word
    draw_value, say_value = NUMBERS[slot]
    value = draw_value(rng)
    return say_value(value, rng), value


def random_word(rng: random.Random) -> str:
    """A word, a number, a name_with_underscores, or a made-up word, which can only be copied."""
    choice = rng.random()
    if choice < 0.2:
        syllables = range(rng.randint(1, 3))
        return "".join(rng.choice(SYLLABLES) + rng.choice("aeiou") for _ in syllables)
    if choice < 0.35:
        return str(rng.randrange(1000))
    if choice < 0.55:
        return f"{listed_word(rng)}_{listed_word(rng)}".replace(" ", "_")
    return rng.choice(EVERY_WORD) if choice < 0.75 else listed_word(rng)


def listed_word(rng: random.Random) -> str:
    return rng.choice(WORDS[rng.choice(list(WORDS))])


def say(text: str, rng: random.Random) -> str:
    """`text` as a person may write it: polite, misspelt, with capital and full stop, or plain."""
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
    character = rng.choice(["", text[at : at + 1] * 2, rng.choice("aeinorst")])
    return text[:at] + character + text[at + 1 :]
