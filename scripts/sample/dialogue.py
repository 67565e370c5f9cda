"""Conversations of the sample: an intent, its call or words, and what people say next.

A `Turn` is what was said and what the assistant answers. Every phrasing and every call of a turn
belongs to the split asked for: `test` meets no phrasing and no call with values that `train` has.
"""

import itertools
import json
import random
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from sample import values

PHRASINGS = yaml.safe_load((Path(__file__).parent / "phrasings.yaml").read_text(encoding="utf-8"))
BEFORE = [
    "please",
    "could you",
    "can you",
    "hey,",
    "hi,",
    "ok,",
    "would you",
    "could you please",
    "i want you to",
    "hello,",
]
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
CALLS = {
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
CHOICES = {
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

HELD_OUT = {"set_light": ["room"], "set_timer": ["minutes"], "play_music": ["music"]}
SPLITS = ("train", "validation", "test")

# What people say next: the class of the phrasing, and the value it changes (None: the call is
# another one).
ROOM, PERCENT = ("same_room", "room"), ("to_percent", "percent")
FOLLOW_UPS = {
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
ASKED = {
    "ask_room": ("room_answer", "light_on"),
    "ask_duration": ("duration_answer", "timer"),
    "ask_time": ("time_answer", "alarm"),
}


# How often an intent is drawn, against 1.
WEIGHTS = {
    "light_on": 1.5, "timer_label": 1.5, "alarm": 2.0, "play_room": 1.5, "list_add": 1.5, "stop_music": 0.5,
    "ask_duration": 0.7, "ask_time": 0.7, "ask_room": 0.7,
    "help": 0.35, "name": 0.35, "thanks": 0.35, "night": 0.35, "privacy": 0.35, "offline": 0.35,
}  # fmt: skip


@dataclass(frozen=True)
class Turn:
    intent: str
    phrasing: str  # as in phrasings.yaml
    said: str
    answer: str
    arguments: dict | None = None


def answer_of(intent: str, arguments: dict) -> str:
    """The call as the assistant writes it: one JSON object on one line."""
    return json.dumps({"name": CALLS[intent][0], "arguments": arguments})


def all_calls(intent: str) -> list[dict]:
    """The arguments of every call that an intent can make."""
    _, fixed, said = CALLS[intent]
    combinations = itertools.product(*(CHOICES[key] for key in said))
    return [dict(zip(said, combination, strict=True)) | fixed for combination in combinations]


def share_out(intent: str) -> dict[str, list[dict]]:
    """Every call of an intent to one split: 75 % train, 10 % validation, 15 % test.

    What is shared out is combinations of values. Where a function is also called with fewer values
    or a fixed one (play jazz, or jazz in the hall; light on or off), it is HELD_OUT's value alone:
    jazz goes to one split as a whole. Else training would teach that what it has only seen with a
    room always has one.
    """
    function, _, said = CALLS[intent]
    keys = HELD_OUT.get(function, said)
    combinations = list(itertools.product(*(CHOICES[key] for key in keys)))
    random.Random(f"calls {function}").shuffle(combinations)
    test, validation = round(len(combinations) * 0.15), round(len(combinations) * 0.25)
    parts = {
        "test": combinations[:test],
        "validation": combinations[test:validation],
        "train": combinations[validation:],
    }
    parts = {split: set(part) for split, part in parts.items()}
    calls = all_calls(intent)
    return {
        split: [call for call in calls if not keys or tuple(call[key] for key in keys) in part]
        for split, part in parts.items()
    }


def draw(intent: str, split: str, rng: random.Random, **known) -> dict | None:
    """Arguments of a call of `split` with the known values; None if there is none."""
    fitting = [call for call in SHARES[intent][split] if known.items() <= call.items()]
    return rng.choice(fitting) if fitting else None


SHARES = {intent: share_out(intent) for intent in CALLS}


def expand(phrasing: str, arguments: dict, rng: random.Random, typo: bool = False) -> str:
    """A phrasing with its choices made and its values said."""
    text = re.sub(
        r"\(([^)]*)\)", lambda m: rng.choice(m[1].split("|")), phrasing.removeprefix("! ")
    )
    if typo:
        text = misspell(text, rng)
    text = re.sub(r"\{(\w+)\}", lambda m: values.say(m[1], arguments[m[1]], rng), text)
    return re.sub(r" +", " ", text).strip().replace(" ,", ",")


def misspell(text: str, rng: random.Random) -> str:
    """Drops, doubles or swaps a letter of one word; values are left alone."""
    words = text.split(" ")
    places = [i for i, word in enumerate(words) if word.isalpha() and len(word) > 4]
    if not places:
        return text
    i = rng.choice(places)
    word, at = words[i], rng.randrange(1, len(words[i]) - 1)
    words[i] = rng.choice(
        [
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
        ]
    )
    return " ".join(words)


def say(kind: str, arguments: dict, split: str, rng: random.Random) -> tuple[str, str]:
    """(phrasing, what was said) in the way of one split."""
    phrasing = rng.choice(PHRASINGS[kind][split])
    text = expand(phrasing, arguments, rng, typo=rng.random() < 0.06)
    if not phrasing.startswith("!") and kind in (CALLS | ASKED) and rng.random() < 0.4:
        text = f"{rng.choice(BEFORE)} {text}"
    if rng.random() < 0.15 and not text.endswith(("please", "thanks")):
        text = (
            f"{text} {rng.choice(AFTER)}"
            if kind in CALLS
            else f"{text} please"
            if kind in ASKED
            else text
        )
    return phrasing, text if text[0].isdigit() or phrasing.startswith("{") else write_down(
        text, rng
    )


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
    arguments = draw(intent, split, rng)
    phrasing, said = say(intent, arguments, split, rng)
    return Turn(intent, phrasing, said, answer_of(intent, arguments), arguments)


def follow_up(last: Turn, split: str, rng: random.Random) -> Turn | None:
    """What is said after `last`; None if nothing of this split fits."""
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
    if kind == "off_again":
        intent, kept = "light_off", {"room": last.arguments["room"]}
    elif kind == "cancel_it":
        intent, kept = "timer_stop", {"label": last.arguments["label"]}
    elif kind == "stop_it":
        intent, kept = "stop_music", {}
    else:
        intent = (
            "blinds_to"
            if last.intent.startswith("blinds") and changed == "percent"
            else last.intent
        )
        kept = {key: value for key, value in last.arguments.items() if key != changed}
    return intent, draw(intent, split, rng, **kept)


def conversation(split: str, rng: random.Random) -> list[Turn]:
    """One request in about two thirds of the cases, else two or three turns."""
    turns = [request(pick_intent(rng), split, rng)]
    while turns[-1].intent in ASKED or (len(turns) < 3 and rng.random() < 0.35):
        following = (
            follow_up(turns[-1], split, rng)
            if turns[-1].intent in ASKED or rng.random() < 0.85
            else None
        )
        turns.append(following or request(pick_intent(rng), split, rng))
    return turns


def pick_intent(rng: random.Random) -> str:
    intents = [*CALLS, *WORDS]
    return rng.choices(intents, [WEIGHTS.get(intent, 1.0) for intent in intents])[0]


def conversations(split: str, size: int) -> list[list[Turn]]:
    """`size` conversations of one split, no two alike. Its random numbers are its own: no split
    moves another.
    """
    rng, found = random.Random(f"sample {split}"), {}
    while len(found) < size:
        turns = conversation(split, rng)
        found.setdefault(tuple((turn.said.lower(), turn.answer) for turn in turns), turns)
    return list(found.values())
