"""A small English grammar: some 200 words, well over a billion sentences of 4 to 14 words.

Each pattern has dozens of sentences at the least: dev and test take theirs out of training, and a
pattern of six would leave its words unheard.

Words in capitals stand for one of their alternatives. No two words sound alike in any accent (so
no "for" beside "four", no "to" beside "two"): what is wrong in a transcript was misheard.
"""

from functools import cache

import numpy as np

MIN_WORDS, MAX_WORDS = 4, 14

_RULES = {
    "SENTENCE": "COMMAND|COMMAND|COMMAND|COMMAND and COMMAND|STATEMENT|STATEMENT|STATEMENT"
    "|QUESTION|QUESTION|COUNT|please COMMAND|COMMAND now",
    "COMMAND": "MOVE the OBJECT WHERE|MOVE the OBJECT WHERE|turn ONOFF the DEVICE in the ROOM"
    "|set a timer of PERIOD|set the alarm at CLOCK WHEN|call NAME at CLOCK|call NAME WHEN"
    "|OPEN the OPENING MANNER|OPEN the OPENING of the ROOM|PLAY the MEDIA in the ROOM"
    "|set the DEVICE in the ROOM at NUMBER percent|HANDLE the OBJECT MANNER"
    "|open the book at page NUMBER|wait PERIOD at the SPOT|walk PERIOD and turn SIDE"
    "|remember the code DIGIT DIGIT DIGIT DIGIT|paint the number NUMBER on the OBJECT",
    "STATEMENT": "NAME PAST the OBJECT WHERE|NAME PAST NUMBER PLURAL in CITY"
    "|NAME lives in CITY with NAME"
    "|the train from CITY leaves at CLOCK|the bus from CITY was PERIOD late"
    "|it will be WEATHER in CITY WHEN|it was WEATHER and WEATHER in CITY WHENPAST"
    "|the OBJECT cost NUMBER euros|my THING is WHERE|they PAST my THING WHENPAST"
    "|we have NUMBER PLURAL in the ROOM|she has a meeting with NAME WHEN"
    "|the OPENING of the ROOM was STATE WHENPAST|the temperature in the ROOM is NUMBER degrees",
    "QUESTION": "where did NAME put the OBJECT|how many PLURAL are WHERE"
    "|when will the VEHICLE from CITY arrive in CITY|who PAST the OBJECT WHENPAST"
    "|is the OPENING of the ROOM STATE WHEN|what will NAME bring WHEN|who has my COLOUR THING"
    "|how much is the OBJECT WHERE",
    "COUNT": "DIGIT DIGIT DIGIT DIGIT DIGIT|the code is DIGIT DIGIT DIGIT DIGIT"
    "|room NUMBER is on floor TEEN|my number is DIGIT DIGIT DIGIT DIGIT DIGIT DIGIT"
    "|channel NUMBER begins at CLOCK",
    "VEHICLE": "train|bus",
    "MOVE": "put|find|bring",
    "HANDLE": "clean|paint|carry",
    "OPEN": "open|close|lock",
    "PLAY": "play|stop",
    "ONOFF": "on|off",
    "SIDE": "left|right",
    "MANNER": "slowly|quickly|quietly|again|today",
    "STATE": "locked|broken",
    "WHERE": "PREPOSITION the SPOT|PREPOSITION the SPOT|in the ROOM",
    "PREPOSITION": "under|behind|near|beside|above",
    "OBJECT": "THING|COLOUR THING|COLOUR THING|SIZE COLOUR THING",
    "THING": "lamp|chair|bottle|basket|ladder|camera|letter|paper|book|hammer|blanket|mirror|pencil"
    "|jacket|guitar|umbrella",
    "PLURAL": "apples|flowers|candles|people",
    "DEVICE": "radio|heating|music|television",
    "MEDIA": "music|radio|song",
    "OPENING": "door|window|cupboard",
    "SPOT": "table|window|door|sofa|bridge|river|station|fireplace",
    "ROOM": "kitchen|garden|bedroom|office|garage|library",
    "COLOUR": "red|green|blue|yellow|white|black|purple|orange|silver",
    "SIZE": "small|large|heavy|empty",
    "NAME": "anna|peter|maria|david|susan|oliver|emma|jacob|laura|simon",
    "CITY": "london|paris|berlin|madrid|vienna|dublin",
    "PAST": "found|bought|lost|painted|carried",
    "WEATHER": "rainy|windy|cloudy|cold|warm",
    "WHEN": "today|tomorrow|tonight|on DAY|on DAY DAYTIME|in MONTH",
    "WHENPAST": "yesterday|today|last MONTH|on DAY",
    "DAY": "monday|tuesday|wednesday|thursday|friday|saturday|sunday",
    "DAYTIME": "morning|evening|night",
    "MONTH": "january|april|august|december",
    "CLOCK": "HOUR|HOUR thirty|HOUR fifteen|HOUR forty five|half past HOUR|noon",
    "HOUR": "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve",
    "PERIOD": "SMALL minutes|NUMBER minutes|NUMBER seconds|SMALL hours",
    "SMALL": "two|three|four|five|six|seven|eight|nine",
    "TEEN": "ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen|nineteen",
    "TENS": "twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety",
    "NUMBER": "SMALL|TEEN|TENS|TENS SMALL|SMALL hundred",
    "DIGIT": "zero|one|two|three|four|five|six|seven|eight|nine",
}


@cache
def _parsed() -> dict[str, list[list[str]]]:
    return {name: [part.split() for part in rule.split("|")] for name, rule in _RULES.items()}


def vocabulary() -> list[str]:
    """All words that a sentence can hold, sorted."""
    rules = _parsed()
    return sorted({w for parts in rules.values() for part in parts for w in part if w not in rules})


def sentence(rng: np.random.Generator) -> str:
    """One sentence, drawn at random."""
    while True:
        words = _expand("SENTENCE", rng)
        if MIN_WORDS <= len(words) <= MAX_WORDS:
            return " ".join(words)


def sentences(count: int, rng: np.random.Generator, taken: set[str]) -> list[str]:
    """`count` sentences, all different and none of them in `taken`, which is left as it is."""
    texts: dict[str, None] = {}
    while len(texts) < count:
        if (text := sentence(rng)) not in taken:
            texts[text] = None
    return list(texts)


def _expand(symbol: str, rng: np.random.Generator) -> list[str]:
    parts = _parsed().get(symbol)
    if parts is None:
        return [symbol]
    # `random` is ten times as fast as `choice` and `integers`, and nearly all the time goes here.
    return [word for part in parts[int(rng.random() * len(parts))] for word in _expand(part, rng)]
