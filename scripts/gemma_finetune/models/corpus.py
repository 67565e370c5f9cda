"""The tiny base's pretraining text, drawn from a seed: everyday household English and plain records.

It holds nothing of the sample's task: no request is answered by a call, and no function is named. What it practises
is what a fine-tuned model builds on: requests of other kinds answered by a record of their values, follow-ups that
change one value, copying, numbers and times, fixed questions.
"""

import json
import random
import re
from collections.abc import Iterator

from gemma_finetune.models.corpus_questions import QUESTIONS, STORIES
from gemma_finetune.models.corpus_records import CHANGES, RECORDS, UNDO
from gemma_finetune.models.corpus_words import WORDS, draw, number_words, say_time

Turns = list[tuple[str, str]]  # (request, answer)
SLOT = re.compile(r"\{(\w+)(?::(\w+))?\}")
POLITE = ["please", "kindly", "dear friend,", "listen,", "well,", "so,", "could you", "would you", "can you", "i want you to", "note that"]


def conversations(seed: int) -> Iterator[Turns]:
    """Endless conversations, and plain text as a single ("", text)."""
    rng = random.Random(f"corpus {seed}")
    makers, weights = zip(*MIX.items(), strict=True)
    while True:
        yield rng.choices(makers, weights)[0](rng)


def record(kind: str, values: dict) -> str:
    return json.dumps({"kind": kind, "values": values})


def fill(pattern: str, rng: random.Random, known: dict | None = None) -> tuple[str, dict, dict]:
    """(what is said, key -> value, key -> slot) of a pattern; `known` values are said as they are."""
    values, slots = {}, {}

    def one(match):
        slot, key = match[1], match[2] or match[1]
        said, values[key] = draw(slot, rng)
        slots[key] = slot
        return said

    return SLOT.sub(one, pattern), values, slots


def say(text: str, rng: random.Random) -> str:
    """Now and then polite, misspelt, or written with a capital and a full stop."""
    if rng.random() < 0.2:
        text = f"{rng.choice(POLITE)} {text}"
    if rng.random() < 0.1:
        text += rng.choice([" please", " now", " thanks", " for me", " today"])
    if rng.random() < 0.05:
        text = misspell(text, rng)
    if rng.random() < 0.6:
        return text.replace(",", "")
    return text[0].upper() + re.sub(r"\bi\b", "I", text[1:]) + rng.choice(".....!?")


def misspell(text: str, rng: random.Random) -> str:
    at = rng.randrange(1, max(2, len(text) - 1))
    return text[:at] + rng.choice(["", text[at : at + 1] * 2, rng.choice("aeinorst")]) + text[at + 1 :]


def records(rng: random.Random) -> Turns:
    """Requests answered by records, with follow-ups that change a value, undo, or turn to something else."""
    kind = rng.choice(list(RECORDS))
    text, values, slots = fill(rng.choice(RECORDS[kind]), rng)
    values = in_order(kind, values)
    turns = [(say(text, rng), record(kind, values))]
    while len(turns) < 4 and rng.random() < 0.45:
        choice = rng.random()
        if choice < 0.15:
            values = dict(list(values.items())[:1])
            turns.append((say(rng.choice(UNDO), rng), record("undo", values)))
            break
        if choice < 0.3:
            return turns + (records(rng) if rng.random() < 0.7 else questions(rng))[: 4 - len(turns)]
        key = rng.choice(list(values))
        said, value = draw(slots[key], rng)
        values = values | {key: value}
        turns.append((say(rng.choice(CHANGES).replace("{}", said), rng), record(kind, values)))
    return turns


def in_order(kind: str, values: dict) -> dict:
    """Values in the order of the kind's first pattern, however they were said."""
    keys = [match[2] or match[1] for match in SLOT.finditer(RECORDS[kind][0])]
    return {key: values[key] for key in keys if key in values} | values


def asking(rng: random.Random) -> Turns:
    """A record that is asked for value by value."""
    kind = rng.choice(list(RECORDS))
    _, values, slots = fill(rng.choice(RECORDS[kind]), rng)
    request = rng.choice([f"a {kind} record", f"new {kind} record", f"i have a {kind} record", f"write a {kind} record", kind])
    turns, answers = [], {}
    for key in values:
        turns.append((say(request, rng), f"Which {key}?"))
        said, answers[key] = draw(slots[key], rng)
        request = rng.choice(["{}", "it is {}", "it was {}", "{} of course", "that is {}", "{} this time"]).replace("{}", said)
    return [*turns, (say(request, rng), record(kind, answers))]


def copying(rng: random.Random) -> Turns:
    words = [made_up(rng) if rng.random() < 0.3 else rng.choice(WORDS[rng.choice(list(WORDS))]) for _ in range(rng.randint(1, 4))]
    said = " and ".join(words) if rng.random() < 0.5 else ", ".join(words)
    if rng.random() < 0.5:
        return [(rng.choice(["repeat {}", "say {}", "spell out {}"]).replace("{}", said), said)]
    return [(rng.choice(["a list of {}", "list {}", "note down {}"]).replace("{}", said), json.dumps({"kind": "list", "values": words}))]


def made_up(rng: random.Random) -> str:
    """A word that nobody knows, to practise copying letter by letter."""
    return "".join(rng.choice(["b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "st", "tr", "ch"]) + rng.choice("aeiou") for _ in range(rng.randint(1, 3)))


def numbers(rng: random.Random) -> Turns:
    """Numbers, shares and times in words, written in digits."""
    slot = rng.choice(["number", "percent", "minutes", "degrees", "time", "time"])
    said, value = draw(slot, rng)
    if rng.random() < 0.5:
        return [(rng.choice(["{} in digits", "write {} in digits", "what is {} in digits"]).replace("{}", said), str(value))]
    return [(rng.choice(["a number record, {}", "number record {}", "record {}"]).replace("{}", said), record("number", {slot: value}))]


def lookup(rng: random.Random) -> Turns:
    """A few keys with their values, and one of them asked for."""
    keys = rng.sample(WORDS[rng.choice(["room", "person", "thing", "animal", "city"])], 4)
    slot = rng.choice(["color", "number", "food", "day", "music"])
    pairs = {key: draw(slot, rng)[0] for key in keys}
    asked = rng.choice(keys)
    text = ", ".join(f"{key} {value}" for key, value in pairs.items())
    return [(say(f"{text}, what about {asked}", rng), pairs[asked])]


def questions(rng: random.Random) -> Turns:
    """Fixed questions, each asked in many ways."""
    answer = rng.choice(list(QUESTIONS))
    return [(say(rng.choice(QUESTIONS[answer]), rng), answer)]


def stories(rng: random.Random) -> Turns:
    """Plain text that nobody asked for."""
    sentences = [fill(rng.choice(STORIES), rng)[0] for _ in range(rng.randint(2, 4))]
    return [("", " ".join(s[0].upper() + s[1:] + "." for s in sentences))]


MIX = {records: 10, asking: 1, copying: 1, numbers: 2, lookup: 0.5, questions: 1.5, stories: 2}
