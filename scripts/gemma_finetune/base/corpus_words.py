"""Numbers and times as people say them, for the tiny base's pretraining text."""

import random
from collections.abc import Callable

ONES = (
    "zero one two three four five six seven eight nine ten "
    "eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
SHARES = {25: "a quarter", 50: "half", 75: "three quarters"}
HOURS = {
    15: ["a quarter of an hour"],
    30: ["half an hour"],
    45: ["three quarters of an hour"],
    60: ["an hour", "one hour", "1 hour"],
    90: ["an hour and a half", "one and a half hours"],
    120: ["two hours", "2 hours"],
    150: ["two and a half hours"],
    180: ["three hours", "3 hours"],
    240: ["four hours", "4 hours"],
    300: ["five hours", "5 hours"],
}


def number_words(number: int) -> str:
    """21 -> "twenty one"; up to 999."""
    if number < 20:
        return ONES[number]
    if number < 100:
        words, rest = TENS[number // 10 - 2], number % 10
    else:
        words, rest = f"{ONES[number // 100]} hundred", number % 100
    return f"{words} {number_words(rest)}" if rest else words


def say_number(number: int, rng: random.Random) -> str:
    return number_words(number) if rng.random() < 0.5 else str(number)


def say_percent(number: int, rng: random.Random) -> str:
    if number in SHARES and rng.random() < 0.5:
        return SHARES[number]
    return f"{number}%" if rng.random() < 0.3 else f"{say_number(number, rng)} percent"


def say_degrees(number: int, rng: random.Random) -> str:
    return f"{say_number(number, rng)} degrees"


def say_minutes(number: int, rng: random.Random) -> str:
    if number in HOURS and rng.random() < 0.6:
        return rng.choice(HOURS[number])
    return f"{say_number(number, rng)} minute" + ("" if number == 1 else "s")


def say_time(time: str, rng: random.Random) -> str:
    """A time of day, in words or digits, so that morning and evening cannot be confused.

    "19:30" -> "half past seven in the evening", "7:30 pm", "19:30", ...
    """
    hour, minute = map(int, time.split(":"))
    if hour > 9 and rng.random() < 0.25:
        return time
    twelve, morning = (hour - 1) % 12 + 1, hour < 12
    if rng.random() < 0.5:
        suffix = rng.choice([part_of_day(hour), " am" if morning else " pm"] + [""] * morning)
        digits = f"{twelve}" if minute == 0 and suffix else f"{twelve}:{minute:02}"
        return digits + suffix
    words = clock(twelve, minute, rng)
    return words if morning and rng.random() < 0.5 else words + part_of_day(hour)


def part_of_day(hour: int) -> str:
    parts = {12: " in the morning", 18: " in the afternoon", 22: " in the evening", 24: " at night"}
    return next(part for end, part in parts.items() if hour < end)


def clock(hour: int, minute: int, rng: random.Random) -> str:
    """7, 40 -> "twenty to eight" or "seven forty"."""
    this, following = number_words(hour), number_words(hour % 12 + 1)
    names = {5: "five", 10: "ten", 15: "quarter", 20: "twenty", 30: "half"}
    if minute == 0:
        return rng.choice([this, f"{this} o'clock"])
    if minute in names and rng.random() < 0.6:
        return f"{names[minute]} past {this}"
    if 60 - minute in names and rng.random() < 0.6:
        return f"{names[60 - minute]} to {following}"
    return f"{this} {number_words(minute)}" if minute >= 10 else f"{this} oh {number_words(minute)}"


def draw_time(rng: random.Random) -> str:
    hour = rng.randrange(4, 24)
    minute = rng.choice([0, 0, 5, 10, 15, 20, 25, 30, 30, 35, 40, 45, 50, 55])
    return f"{hour:02}:{minute:02}"


# slot -> (draws a value, says it)
NUMBERS: dict[str, tuple[Callable, Callable]] = {
    "number": (lambda rng: rng.choice([rng.randrange(1, 13), rng.randrange(1, 100)]), say_number),
    "minutes": (
        lambda rng: rng.choice([rng.randrange(1, 61), rng.randrange(1, 181), *HOURS]),
        say_minutes,
    ),
    "percent": (
        lambda rng: rng.choice([rng.randrange(101), 5 * rng.randrange(21), 0, 100, *SHARES]),
        say_percent,
    ),
    "degrees": (
        lambda rng: rng.choice([rng.randrange(10, 31), 10 * rng.randrange(3, 25)]),
        say_degrees,
    ),
    "time": (draw_time, say_time),
}
