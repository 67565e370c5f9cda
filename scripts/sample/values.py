"""The values that the home assistant of the sample can be asked for, and how people say them."""

import random
from collections.abc import Callable
from itertools import product
from typing import Any

ROOMS = [
    "kitchen", "bedroom", "living room", "bathroom", "hall", "office", "garage", "dining room",
    "attic", "nursery", "basement", "guest room", "pantry", "porch", "study", "cellar", "balcony",
    "playroom", "studio", "library",
]  # fmt: skip
COLORS = [
    "red", "blue", "green", "yellow", "orange", "purple", "pink", "white", "violet", "turquoise",
]  # fmt: skip
MUSIC = [
    "jazz", "rock", "pop", "blues", "soul", "folk", "techno", "reggae", "country", "opera", "disco",
    "hip hop", "salsa", "piano", "guitar", "classical", "punk", "swing", "ambient", "gospel",
]  # fmt: skip
LABELS = [
    "pasta", "rice", "pizza", "bread", "cake", "tea", "coffee", "soup", "chicken", "fish", "eggs",
    "potatoes", "laundry", "oven", "cookies", "steak", "dough", "pie", "lentils", "beans",
    "washing", "nap", "homework", "sauna",
]  # fmt: skip
ITEMS = [
    "milk", "bread", "butter", "cheese", "eggs", "rice", "pasta", "flour", "sugar", "salt",
    "pepper", "honey", "jam", "tea", "coffee", "juice", "water", "apples", "bananas", "oranges",
    "lemons", "grapes", "onions", "garlic", "carrots", "tomatoes", "potatoes", "lettuce", "spinach",
    "beans", "chicken", "fish", "bacon", "yogurt", "cream", "soap", "shampoo", "toothpaste",
    "batteries", "candles", "napkins", "towels", "olives", "nuts", "chocolate", "cookies",
]  # fmt: skip
PERCENTS = [*range(5, 100, 5), 12, 18, 33, 42, 66, 72, 88, 99]
DEGREES = list(range(14, 28))
MINUTES = [*range(1, 31), 35, 40, 45, 50, 55, 60, 70, 75, 80, 90, 100, 120, 180]
TIMES = [
    f"{hour:02}:{minute:02}"
    for hour, minute in product(range(4, 24), (0, 5, 10, 15, 20, 30, 40, 45, 50))
]

ONES = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen",
    "nineteen",
]  # fmt: skip
TENS = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
FRACTIONS = {25: "a quarter", 50: "half", 75: "three quarters"}
HOURS = {
    15: ["a quarter of an hour"],
    30: ["half an hour"],
    60: ["an hour", "one hour"],
    90: ["an hour and a half", "one and a half hours"],
    120: ["two hours", "2 hours"],
    180: ["three hours", "3 hours"],
}


def in_words(number: int) -> str:
    """21 -> "twenty one", up to 199."""
    if number < 20:
        return ONES[number]
    if number < 100:
        words, rest = TENS[number // 10], number % 10
    else:
        words, rest = "one hundred", number - 100
    return f"{words} {in_words(rest)}" if rest else words


def say_number(number: int, rng: random.Random) -> str:
    return rng.choice([str(number), str(number), in_words(number)])


def say_percent(percent: int, rng: random.Random) -> str:
    if percent in FRACTIONS and rng.random() < 0.4:
        return FRACTIONS[percent]
    return rng.choice([f"{percent}%", f"{percent} percent", f"{in_words(percent)} percent"])


def say_degrees(degrees: int, rng: random.Random) -> str:
    return say_number(degrees, rng) + " degrees"


def say_minutes(minutes: int, rng: random.Random) -> str:
    if minutes in HOURS and (minutes > 60 or rng.random() < 0.5):
        return rng.choice(HOURS[minutes])
    return say_number(minutes, rng) + (" minute" if minutes == 1 else " minutes")


def say_time(time: str, rng: random.Random) -> str:
    """One way to say a time: 19:30 -> "half past seven in the evening", "7:30 pm", "19:30", …"""
    hour, minute = int(time[:2]), int(time[3:])
    if rng.random() < 0.25 and hour > 9:
        return f"{hour}:{minute:02}"
    twelve = (hour - 1) % 12 + 1
    if rng.random() < 0.5:
        suffixes = [" am", "", " in the morning"] if hour < 12 else [" pm", day_part(hour)]
        suffix = rng.choice(suffixes)
        digits = f"{twelve}" if minute == 0 and suffix else f"{twelve}:{minute:02}"
        return digits + suffix
    suffixes = ["", " in the morning"] if hour < 12 else [day_part(hour)]
    suffix = rng.choice(suffixes)
    return clock_words(twelve, minute, rng) + suffix


def day_part(hour: int) -> str:
    if hour < 18:
        return " in the afternoon"
    return " in the evening" if hour < 22 else " at night"


def clock_words(hour: int, minute: int, rng: random.Random) -> str:
    """7, 30 -> "half past seven" or "seven thirty"."""
    this, following = in_words(hour), in_words(hour % 12 + 1)
    plain = f"{this} {in_words(minute)}" if minute >= 10 else f"{this} oh {in_words(minute)}"
    ways = {
        0: [this, f"{this} o'clock"],
        5: [f"five past {this}", plain],
        10: [f"ten past {this}", plain],
        15: [f"quarter past {this}", plain],
        20: [f"twenty past {this}", plain],
        30: [f"half past {this}", plain],
        40: [f"twenty to {following}", plain],
        45: [f"quarter to {following}", plain],
        50: [f"ten to {following}", plain],
    }
    return rng.choice(ways[minute])


# Every other value is said as it is written.
SAY: dict[str, Callable[[Any, random.Random], str]] = {
    "percent": say_percent,
    "degrees": say_degrees,
    "minutes": say_minutes,
    "time": say_time,
}


def say(key: str, value: int | str, rng: random.Random) -> str:
    """One way to say a value, such as 40 of `percent`: "forty percent"."""
    return SAY[key](value, rng) if key in SAY else str(value)
