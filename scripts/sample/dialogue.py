"""Conversations of the sample: an intent, its call or words, and what people say next.

A `Turn` is what was said and what the assistant answers. Its phrasing and its call belong to the
split that is asked for: `test` has no phrasing, and no call with values, that `train` has.
"""

import itertools
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sample import values

PHRASINGS = yaml.safe_load((Path(__file__).parent / "phrasings.yaml").read_text(encoding="utf-8"))
BEFORE = [
    "please", "could you", "can you", "hey,", "hi,", "ok,", "would you", "could you please",
    "i want you to", "hello,",
]  # fmt: skip
AFTER = ["please", "for me", "now", "thanks"]
WORDS = {
    "help": "I can set lights, heating, blinds, timers and music.",
    "name": "I am your home assistant.",
    "thanks": "You are welcome.",
    "night": "Good night.",
    "privacy": "Everything stays on this device.",
    "offline": "I work without the internet.",
    "ask_room": "In which room?",
    "ask_duration": "For how long?",
    "ask_time": "At what time?",
}

# What an intent calls: the function, values that are fixed, and the values that are said.
CALLS: dict[str, tuple[str, dict, list[str]]] = {
    "light_on": ("set_light", {"state": "on"}, ["room"]),
    "light_off": ("set_light", {"state": "off"}, ["room"]),
    "brightness": ("set_brightness", {}, ["room", "percent"]),
    "color": ("set_color", {}, ["room", "color"]),
    "heating": ("set_heating", {}, ["room", "degrees"]),
    "blinds_open": ("set_blinds", {"percent": 100}, ["room"]),
    "blinds_close": ("set_blinds", {"percent": 0}, ["room"]),
    "blinds_to": ("set_blinds", {}, ["room", "percent"]),
    "timer": ("set_timer", {}, ["minutes"]),
    "timer_label": ("set_timer", {}, ["minutes", "label"]),
    "timer_stop": ("stop_timer", {}, ["label"]),
    "alarm": ("set_alarm", {}, ["time"]),
    "play": ("play_music", {}, ["music"]),
    "play_room": ("play_music", {}, ["music", "room"]),
    "volume": ("set_volume", {}, ["percent"]),
    "stop_music": ("stop_music", {}, []),
    "list_add": ("add_item", {}, ["item"]),
}
CHOICES: dict[str, list] = {
    "room": values.ROOMS,
    "color": values.COLORS,
    "music": values.MUSIC,
    "label": values.LABELS,
    "item": values.ITEMS,
    "percent": values.PERCENTS,
    "degrees": values.DEGREES,
    "minutes": values.MINUTES,
    "time": values.TIMES,
}

# Functions whose calls are split by one value alone: `share_out` says why.
HELD_OUT = {"set_light": ["room"], "set_timer": ["minutes"], "play_music": ["music"]}
SPLITS = ("train", "validation", "test")

# What people say next: the class of the phrasing, and the value that it changes. None: the
# follow-up makes another call.
ROOM, PERCENT = ("same_room", "room"), ("to_percent", "percent")
FOLLOW_UPS: dict[str, list[tuple[str, str | None]]] = {
    "light_on": [ROOM, ("off_again", None)],
    "light_off": [ROOM],
    "brightness": [ROOM, PERCENT],
    "color": [ROOM, ("to_color", "color")],
    "heating": [ROOM, ("to_degrees", "degrees")],
    "blinds_open": [ROOM, PERCENT],
    "blinds_close": [ROOM, PERCENT],
    "blinds_to": [ROOM, PERCENT],
    "timer": [("to_duration", "minutes")],
    "timer_label": [("to_duration", "minutes"), ("cancel_it", None)],
    "alarm": [("to_time", "time")],
    "play": [("to_music", "music"), ("stop_it", None)],
    "play_room": [ROOM, ("to_music", "music"), ("stop_it", None)],
    "volume": [PERCENT],
    "list_add": [("more_items", "item")],
}
# What people answer to a question: the class of the phrasing, and the intent of the call.
ASKED = {
    "ask_room": ("room_answer", "light_on"),
    "ask_duration": ("duration_answer", "timer"),
    "ask_time": ("time_answer", "alarm"),
}

# How often an intent is drawn; every other intent has weight 1.
WEIGHTS = {
    "light_on": 1.5, "timer_label": 1.5, "alarm": 2.0, "play_room": 1.5, "list_add": 1.5,
    "stop_music": 0.5,
    "ask_duration": 0.7, "ask_time": 0.7, "ask_room": 0.7,
    "help": 0.35, "name": 0.35, "thanks": 0.35, "night": 0.35, "privacy": 0.35, "offline": 0.35,
}  # fmt: skip


@dataclass(frozen=True)
class Turn:
    """One request and its answer."""

    intent: str
    phrasing: str  # as in phrasings.yaml
    said: str
    answer: str
    arguments: dict | None = None  # of the call; None if the answer is words


def answer_of(intent: str, arguments: dict) -> str:
    """The call as the assistant writes it: one JSON object on one line."""
    return json.dumps({"name": CALLS[intent][0], "arguments": arguments})


def all_calls(intent: str) -> list[dict]:
    """The arguments of every call that an intent can make."""
    _, fixed, said = CALLS[intent]
    combinations = itertools.product(*(CHOICES[key] for key in said))
    return [dict(zip(said, combination, strict=True)) | fixed for combination in combinations]


def share_out(intent: str) -> dict[str, list[dict]]:
    """Gives every call of an intent to one split: 75 % train, 10 % validation, 15 % test.

    Calls are split by their combination of values. Some functions are also called with fewer values
    or with a fixed one: play jazz, or jazz in the hall; light on or off. Their calls are split by
    HELD_OUT's value alone, so all of jazz goes to one split. Otherwise training would see some
    values only together with a room, and learn that they always have one.
    """
    function, _, said = CALLS[intent]
    keys = HELD_OUT.get(function, said)
    combinations = list(itertools.product(*(CHOICES[key] for key in keys)))
    random.Random(f"calls {function}").shuffle(combinations)
    test, validation = round(len(combinations) * 0.15), round(len(combinations) * 0.25)
    parts = {
        "test": set(combinations[:test]),
        "validation": set(combinations[test:validation]),
        "train": set(combinations[validation:]),
    }

    shares: dict[str, list[dict]] = {split: [] for split in parts}
    for call in all_calls(intent):
        combination = tuple(call[key] for key in keys)
        for split, part in parts.items():
            if not keys or combination in part:  # a call without values is in every split
                shares[split].append(call)
    return shares


SHARES = {intent: share_out(intent) for intent in CALLS}


def draw(intent: str, split: str, rng: random.Random, **known: Any) -> dict | None:
    """Arguments of a random call of `split` that has the known values; None if no call has."""
    fitting = [call for call in SHARES[intent][split] if known.items() <= call.items()]
    return rng.choice(fitting) if fitting else None


def expand(phrasing: str, arguments: dict, rng: random.Random, typo: bool = False) -> str:
    """A phrasing with its choices made and its values said."""
    text = phrasing.removeprefix("! ")
    text = re.sub(r"\(([^)]*)\)", lambda found: rng.choice(found[1].split("|")), text)
    if typo:
        text = misspell(text, rng)
    text = re.sub(r"\{(\w+)\}", lambda found: values.say(found[1], arguments[found[1]], rng), text)
    return re.sub(r" +", " ", text).strip().replace(" ,", ",")


def misspell(text: str, rng: random.Random) -> str:
    """Drops, doubles or swaps a letter of one word; values are left alone."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if word.isalpha() and len(word) > 4]
    if not places:
        return text
    i = rng.choice(places)
    word = words[i]
    at = rng.randrange(1, len(word) - 1)
    dropped = word[:at] + word[at + 1 :]
    doubled = word[:at] + word[at] + word[at:]
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    words[i] = rng.choice([dropped, doubled, swapped])
    return " ".join(words)


def say(kind: str, arguments: dict, split: str, rng: random.Random) -> tuple[str, str]:
    """(phrasing, what was said), with a phrasing of one split."""
    phrasing = rng.choice(PHRASINGS[kind][split])
    text = expand(phrasing, arguments, rng, typo=rng.random() < 0.06)
    if not phrasing.startswith("!") and kind in (CALLS | ASKED) and rng.random() < 0.4:
        text = f"{rng.choice(BEFORE)} {text}"
    if rng.random() < 0.15 and not text.endswith(("please", "thanks")):
        if kind in CALLS:
            text = f"{text} {rng.choice(AFTER)}"
        elif kind in ASKED:
            text = f"{text} please"
    if not text[0].isdigit() and not phrasing.startswith("{"):
        text = write_down(text, rng)
    return phrasing, text


def write_down(text: str, rng: random.Random) -> str:
    """Speech recognition mostly leaves punctuation out."""
    if rng.random() < 0.6:
        return text.replace(",", "")
    question = re.match(
        r"(who|what|why|where|how|do|does|can|could|would|are|is|may|which)\b", text
    )
    return text[0].upper() + re.sub(r"\bi\b", "I", text[1:]) + ("?" if question else ".")


def request(intent: str, split: str, rng: random.Random) -> Turn:
    """A request that stands alone."""
    if intent in WORDS:
        phrasing, said = say(intent, {}, split, rng)
        return Turn(intent, phrasing, said, WORDS[intent])
    arguments = rng.choice(SHARES[intent][split])
    phrasing, said = say(intent, arguments, split, rng)
    return Turn(intent, phrasing, said, answer_of(intent, arguments), arguments)


def follow_up(last: Turn, split: str, rng: random.Random) -> Turn | None:
    """What is said after `last`; None if nothing in this split fits."""
    if last.intent in ASKED:
        kind, intent = ASKED[last.intent]
        arguments = draw(intent, split, rng)
    elif last.intent in FOLLOW_UPS:
        kind, changed = rng.choice(FOLLOW_UPS[last.intent])
        intent, arguments = change(last, kind, changed, split, rng)
    else:
        return None
    if arguments is None or arguments == last.arguments:
        return None
    phrasing, said = say(kind, arguments, split, rng)
    return Turn(intent, phrasing, said, answer_of(intent, arguments), arguments)


def change(
    last: Turn, kind: str, changed: str | None, split: str, rng: random.Random
) -> tuple[str, dict | None]:
    """(intent, arguments) of a follow-up that changes one value of the last call, or undoes it."""
    arguments = last.arguments or {}
    if kind == "off_again":
        return "light_off", draw("light_off", split, rng, room=arguments["room"])
    if kind == "cancel_it":
        return "timer_stop", draw("timer_stop", split, rng, label=arguments["label"])
    if kind == "stop_it":
        return "stop_music", draw("stop_music", split, rng)

    intent = last.intent
    if intent.startswith("blinds") and changed == "percent":
        intent = "blinds_to"
    kept = {key: value for key, value in arguments.items() if key != changed}
    return intent, draw(intent, split, rng, **kept)


def conversation(split: str, rng: random.Random) -> list[Turn]:
    """One request in about two thirds of the cases, otherwise two or three turns."""
    turns = [request(pick_intent(rng), split, rng)]
    while turns[-1].intent in ASKED or (len(turns) < 3 and rng.random() < 0.35):
        following = None
        if turns[-1].intent in ASKED or rng.random() < 0.85:
            following = follow_up(turns[-1], split, rng)
        turns.append(following or request(pick_intent(rng), split, rng))
    return turns


def pick_intent(rng: random.Random) -> str:
    intents = [*CALLS, *WORDS]
    return rng.choices(intents, [WEIGHTS.get(intent, 1.0) for intent in intents])[0]


def conversations(split: str, size: int) -> list[list[Turn]]:
    """`size` different conversations of one split. Each split has its own random generator."""
    rng = random.Random(f"sample {split}")
    found: dict[tuple, list[Turn]] = {}
    while len(found) < size:
        turns = conversation(split, rng)
        spoken = tuple((turn.said.lower(), turn.answer) for turn in turns)
        found.setdefault(spoken, turns)
    return list(found.values())
