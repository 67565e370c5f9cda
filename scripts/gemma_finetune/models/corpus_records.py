"""Everyday requests outside the home assistant's, each answered by a record: kind -> ways to say it.

A home's own work is not here: no lights, heating, blinds, timers, alarms, music or shopping lists to command.
`{food}` is a value of the list `food`; `{food:item}` calls it `item` in the record.
"""

RECORDS = {
    "paint": [
        "paint the {room} {color}", "the {room} walls get {color} paint", "the {room} is going to be {color}",
        "we are painting the {room} in {color}", "roller and brush: {color} for the {room}", "{color} paint in the {room}",
        "the walls of the {room} turn {color}", "i think {color} paint suits the {room}", "give the walls in the {room} {color} paint",
    ],
    "clean": [
        "clean the {room} for {minutes}", "mop the {room}, {minutes}", "it took {minutes} to sweep the {room}",
        "{minutes} of scrubbing in the {room}", "the {room} floor was dirty, we swept for {minutes}", "tidy up the {room} in {minutes}",
        "dust the {room} for {minutes}", "i vacuumed in the {room} for {minutes}",
    ],
    "move": [
        "carry the {thing} into the {room}", "the {thing} goes to the {room}", "put the {thing} in the {room}",
        "bring the {thing} over to the {room}", "the {room} gets the {thing}", "move the {thing} to the {room}",
        "i took the {thing} to the {room}", "haul the {thing} up to the {room}",
    ],
    "repair": [
        "the {thing} in the {room} is broken", "fix the {thing} in the {room}", "repair the {room} {thing}",
        "somebody must mend the {thing} in the {room}", "the {room} {thing} does not work", "get the {thing} in the {room} fixed",
        "we need a new {thing} for the {room}", "the {thing} of the {room} has a crack",
    ],
    "measure": [
        "the {room} humidity is {percent}", "damp in the {room} at {percent}", "i measured {percent} damp in the {room}",
        "the meter in the {room} says {percent}", "the air in the {room} is {percent} damp", "{percent} humidity in the {room}",
        "in the {room} the meter was at {percent}", "the {room} reads {percent}",
    ],
    "bake": [
        "bake the {dish} at {degrees}", "the {dish} wants {degrees}", "oven to {degrees} for the {dish}",
        "we baked the {dish} at {degrees}", "{degrees} for baking the {dish}", "roast the {dish} with {degrees}",
        "put the {dish} in at {degrees}", "the oven for the {dish} should have {degrees}",
    ],
    "cook": [
        "the {dish} cooked for {minutes}", "boil the {dish}, {minutes}", "we simmered the {dish} for {minutes}",
        "fry the {dish} for {minutes}", "it took {minutes} to make the {dish}", "the recipe gives the {dish} {minutes}",
        "after {minutes} the {dish} was done", "steam the {dish} {minutes}",
    ],
    "wash": [
        "wash the {clothes} at {degrees}", "the {clothes} need {degrees} in the machine", "{degrees} wash for the {clothes}",
        "rinse the {clothes} with {degrees}", "the {clothes} go in at {degrees}", "we washed the {clothes} at {degrees}",
    ],
    "meet": [
        "meet {person} at {time}", "{person} is coming at {time}", "i see {person} at {time}", "dinner with {person} at {time}",
        "{person} will call at {time}", "{time} with {person}", "i promised {person} to be there at {time}",
        "we expect {person} at {time}", "pick up {person} at {time}",
    ],
    "train": [
        "the train to {city} leaves at {time}", "a ticket to {city} at {time}", "i go to {city} at {time}",
        "book the {time} train to {city}", "to {city} at {time}", "at {time} my train goes to {city}",
        "the bus for {city} starts at {time}", "we travel to {city} at {time}",
    ],
    "sleep": [
        "{person} woke up at {time}", "{person} went to bed at {time}", "at {time} {person} fell asleep",
        "{person} was awake at {time}", "{person} got up at {time}", "{person} slept until {time}", "it was {time} when {person} awoke",
    ],
    "lesson": [
        "{subject} begins at {time}", "the {subject} lesson is at {time}", "at {time} we have {subject}", "{subject} class at {time}",
        "learn {subject} at {time}", "the teacher starts {subject} at {time}", "our {subject} exam is at {time}",
    ],
    "study": [
        "study {subject} for {minutes}", "{minutes} of {subject}", "i read {subject} for {minutes}", "{subject} took me {minutes}",
        "we practised {subject} for {minutes}", "sit down for {subject}, {minutes}",
    ],
    "feed": [
        "give the {animal} {number} cups of food", "the {animal} eats {number} cups", "feed {number} cups to the {animal}",
        "{number} cups for the {animal}", "the {animal} is hungry, {number} cups", "the {animal} got {number} cups",
    ],
    "walk": [
        "walk the {animal} for {minutes}", "the {animal} was out for {minutes}", "take the {animal} out, {minutes}",
        "{minutes} outside with the {animal}", "the {animal} has to go out for {minutes}", "run with the {animal} for {minutes}",
    ],
    "sell": [
        "sell the {thing} for {number} dollars", "the {thing} costs {number} dollars", "{number} dollars for the {thing}",
        "i paid {number} dollars for the {thing}", "the price of the {thing} is {number} dollars", "we got {number} dollars for the {thing}",
    ],
    "lend": [
        "{person} has our {thing}", "lend the {thing} to {person}", "give {person} the {thing}", "{person} borrowed the {thing}",
        "i gave the {thing} to {person}", "{person} wants the {thing} back",
    ],
    "gift": [
        "{person} would like {color} {clothes}", "give {person} {color} {clothes}", "buy {color} {clothes} for {person}",
        "{color} {clothes} for {person}", "i knitted {color} {clothes} for {person}", "{person} wears {color} {clothes}",
    ],
    "plant": [
        "plant {number} {plant} in the garden", "the garden gets {number} {plant}", "{number} {plant} by the fence",
        "we planted {number} {plant}", "dig in {number} {plant}", "i want {number} {plant} at the gate",
    ],
    "harvest": [
        "we picked {number} {food}", "{number} {food} from the garden", "i harvested {number} {food}", "there are {number} {food} in the basket",
        "count the {food}, it is {number}", "the tree gave {number} {food}",
    ],
    "eat": [
        "{person} had {food}", "{person} likes {food}", "{person} ate the {food}", "for {person} it was {food}", "{food} for {person}",
        "{person} can not stand {food}", "serve {food} to {person}", "{person} asked for {food}",
    ],
    "concert": [
        "a {music} concert in {city}", "{city} has a {music} night", "we heard {music} in {city}", "{music} is big in {city}",
        "the {music} band plays in {city}", "go to {city} for {music}", "the best {music} comes from {city}",
    ],
    "band": [
        "{person} sings {music}", "{person} is fond of {music}", "{music} is what {person} studies", "{person} teaches {music}",
        "{person} learned {music}", "{person} dances to {music}", "{music} lessons with {person}", "a record of {music} for {person}",
    ],
    "dance": [
        "{music} night in the {room}", "we danced to {music} in the {room}", "a {music} party in the {room}", "{person} hummed {music}, {room}",
        "the band with the {music} was in the {room}", "the {room} was full of {music}", "learn {music} steps in the {room}",
    ],
    "pay": [
        "pay {number} dollars for the {bill}", "the {bill} is {number} dollars", "the {bill} came to {number} dollars",
        "{number} dollars go to the {bill}", "transfer {number} dollars for the {bill}", "i owe {number} dollars for the {bill}",
    ],
    "chore": [
        "{person} does the {task} on {day}", "the {task} is for {person}, {day}", "{day} is {task} day for {person}",
        "{task} on {day} by {person}", "let {person} do the {task} {day}", "it is {person} who does the {task} {day}",
    ],
    "visit": [
        "{person} visits us {day}", "we drive to {person} {day}", "{day} we see {person}", "{person} comes over {day}",
        "{day} with {person}", "stay with {person} {day}", "{person} has a birthday {day}",
    ],
    "menu": [
        "{dish} {day}", "we eat {dish} {day}", "{day} there is {dish}", "cook {dish} {day}", "i would love {dish} {day}",
        "how about {dish} {day}", "{day} i make {dish}",
    ],
    "exercise": [
        "{task} for {minutes}", "i did {task} for {minutes}", "{minutes} of {task}", "the {task} took {minutes}", "{task}, about {minutes}",
        "spend {minutes} on {task}", "the {task} lasts {minutes}", "in {minutes} the {task} was over",
    ],
    "stock": [
        "there are {number} {thing:item} in the {room}", "the {room} holds {number} {thing:item}", "count {number} {thing:item} in the {room}",
        "we keep {number} {thing:item} in the {room}", "{number} {thing:item}, {room}", "i found {number} {thing:item} in the {room}",
    ],
    "charge": [
        "the phone is at {percent}", "{percent} battery left", "my tablet shows {percent}", "battery at {percent}", "it charged to {percent}",
        "the car is {percent} full", "the laptop went down to {percent}",
    ],
    "weather": [
        "{degrees} in {city}", "it is {degrees} in {city}", "{city} has {degrees} {day}", "in {city} we had {degrees}",
        "the forecast for {city} says {degrees}", "{city} is warm, {degrees}", "{degrees} on {day} in {city}",
    ],
    "lost": [
        "i lost my {thing}", "where is the {thing}", "has anybody seen my {thing}", "the {thing} is lost", "my {thing} is not there",
        "i look for the {thing}", "help me find the {thing}",
    ],
    "rest": [
        "lie down for {minutes}", "i slept {minutes}", "rest {minutes}", "a break of {minutes}", "{minutes} of quiet", "we paused for {minutes}",
    ],
}  # fmt: skip

# A follow-up changes one value of the record before it, or asks for the same with another.
CHANGES = [
    "oh, it was {}", "not that, {}", "i think it was {}", "correct that to {}", "should be {}", "the right one is {}", "{} i mean", "write {} there",
    "no no, {}", "please take {}", "could it be {}", "it has to be {}", "and with {}", "and {} also", "once more with {}", "again, but {}",
    "one more for {}", "{} gets the same", "same again for {}", "as well {}", "now {}", "next is {}", "add one with {}", "do {} like that",
    "hm, {}", "oh no, {}", "sorry it is {}", "i would say {}", "let it be {}", "take {} for that", "and then {}", "but {}",
]  # fmt: skip
UNDO = [
    "strike that", "take it back", "scratch it", "undo", "undo that please", "no, take that back", "erase it", "that was wrong, erase it",
    "throw it away", "leave it", "not any longer", "i changed my mind", "scratch that", "wipe it out",
]  # fmt: skip
