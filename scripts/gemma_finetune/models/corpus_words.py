"""The vocabulary of the pretraining text: everyday words, and numbers and times as people say them."""

import random

WORDS = {
    "room": "kitchen, bedroom, living room, bathroom, hall, office, garage, dining room, attic, nursery, basement, "
    "guest room, cellar, pantry, study, laundry room, porch, balcony, playroom, studio, library, shed, closet, "
    "utility room, sun room, music room",
    "color": "red, blue, green, yellow, orange, purple, pink, white, violet, turquoise, black, grey, brown, beige, "
    "gold, silver, crimson, lime, navy, cream",
    "food": "milk, bread, butter, cheese, eggs, rice, pasta, flour, sugar, salt, pepper, honey, jam, tea, coffee, juice, "
    "water, apples, bananas, oranges, lemons, grapes, onions, garlic, carrots, tomatoes, potatoes, lettuce, spinach, "
    "beans, chicken, fish, bacon, yogurt, cream, olives, nuts, chocolate, cookies, pears, plums, peas, corn, ham, "
    "mustard, vinegar, oil, cereal, melons, cherries, mushrooms, peaches",
    "dish": "pasta, rice, pizza, bread, cake, soup, chicken, fish, eggs, potatoes, cookies, steak, dough, pie, lentils, "
    "beans, salad, stew, curry, noodles, pancakes, waffles, omelette, roast, toast, pudding, porridge, lasagna",
    "thing": "soap, shampoo, toothpaste, batteries, candles, napkins, towels, oven, washing, laundry, sauna, lamp, chair, "
    "table, sofa, mirror, carpet, clock, vase, box, ladder, hammer, broom, bucket, blanket, pillow, kettle, fridge, "
    "radio, speaker, window, door, curtain, shelf, drawer, heater, fan, sink, tap, blinds, shades, shutters, radiator, "
    "thermostat, alarm, timer, stove, dishwasher, vacuum, basket, bottle, plate, cup, spoon, fork, knife",
    "music": "jazz, rock, pop, blues, soul, folk, techno, reggae, country, opera, disco, hip hop, salsa, piano, guitar, "
    "classical, punk, swing, ambient, gospel, violin, waltz, tango, samba, choir, flute, drums, metal",
    "task": "homework, nap, washing, laundry, walk, yoga, reading, dusting, ironing, cleaning, shopping, packing, lunch, "
    "dinner, breakfast, meeting, phone call, haircut, practice, training, lesson, visit, party, exam",
    "person": "anna, tom, maria, peter, lucy, sam, emma, jack, nina, paul, clara, max, julia, leo, sara, ben, grandma, "
    "grandpa, mum, dad, the doctor, the neighbour, the teacher, the plumber",
    "city": "london, paris, rome, berlin, madrid, vienna, oslo, dublin, prague, lisbon, athens, warsaw, milan, geneva",
    "day": "monday, tuesday, wednesday, thursday, friday, saturday, sunday, today, tomorrow",
    "animal": "cat, dog, horse, rabbit, hamster, parrot, turtle, goldfish, cow, sheep, goat, hen, duck, pony",
    "plant": "roses, tulips, basil, mint, fern, cactus, ivy, lilies, daisies, orchids, thyme, parsley, lavender",
    "clothes": "shirts, socks, trousers, jackets, scarves, gloves, hats, dresses, jeans, sweaters, coats, boots",
    "subject": "maths, history, music, spanish, physics, art, biology, french, chemistry, geography",
    "bill": "rent, water bill, phone bill, gas bill, insurance, school fee, power bill, ticket",
}
WORDS = {key: words.split(", ") for key, words in WORDS.items()}

ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def number_words(number: int) -> str:
    """21 -> "twenty one"; up to 999."""
    if number >= 100:
        return f"{ONES[number // 100]} hundred" + (f" {number_words(number % 100)}" if number % 100 else "")
    if number < 20:
        return ONES[number]
    return TENS[number // 10 - 2] + (f" {ONES[number % 10]}" if number % 10 else "")


def say_number(number: int, rng: random.Random) -> str:
    return number_words(number) if rng.random() < 0.5 else str(number)


def say_percent(number: int, rng: random.Random) -> str:
    names = {25: "a quarter", 50: "half", 75: "three quarters"}
    if number in names and rng.random() < 0.5:
        return names[number]
    return str(number) + "%" if rng.random() < 0.3 else say_number(number, rng) + " percent"


def say_minutes(number: int, rng: random.Random) -> str:
    hours = {15: "a quarter of an hour", 30: "half an hour", 60: "an hour", 90: "an hour and a half", 120: "two hours"}
    hours |= {180: "three hours", 45: "three quarters of an hour"}
    if number in hours and rng.random() < 0.6:
        return hours[number]
    return say_number(number, rng) + (" minute" if number == 1 else " minutes")


def say_time(hour: int, minute: int, rng: random.Random) -> str:
    """19, 30 -> "half past seven in the evening", "7:30 pm", "19:30", "seven thirty in the evening", …"""
    if hour > 9 and rng.random() < 0.25:
        return f"{hour}:{minute:02}"
    twelve = (hour - 1) % 12 + 1
    part = "in the morning" if hour < 12 else "in the afternoon" if hour < 18 else "in the evening" if hour < 22 else "at night"
    if rng.random() < 0.5:
        suffix = rng.choice([part, "am" if hour < 12 else "pm"] + [""] * (hour < 12))
        return (f"{twelve}" if minute == 0 and suffix else f"{twelve}:{minute:02}") + (f" {suffix}" if suffix else "")
    return clock(twelve, minute, rng) + ("" if hour < 12 and rng.random() < 0.5 else f" {part}")


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


def draw(slot: str, rng: random.Random) -> tuple[str, int | str]:
    """(what is said, the value it stands for) for a slot of a pattern."""
    if slot in WORDS:
        word = rng.choice(WORDS[slot])
        return word, word
    if slot == "time":
        hour, minute = rng.randrange(4, 24), rng.choice([0, 0, 5, 10, 15, 20, 25, 30, 30, 35, 40, 45, 50, 55])
        return say_time(hour, minute, rng), f"{hour:02}:{minute:02}"
    number = {
        "minutes": lambda: rng.choice([rng.randrange(1, 61), rng.randrange(1, 180), 15, 30, 60, 90, 120]),
        "percent": lambda: rng.choice([rng.randrange(1, 101), 5 * rng.randrange(1, 21), 25, 50, 75]),
        "degrees": lambda: rng.choice([rng.randrange(10, 31), 10 * rng.randrange(3, 25)]),
    }.get(slot, lambda: rng.choice([rng.randrange(1, 13), rng.randrange(1, 100)]))()
    if slot == "degrees":
        return say_number(number, rng) + " degrees", number
    said = {"minutes": say_minutes, "percent": say_percent}.get(slot, say_number)(number, rng)
    return said, number
