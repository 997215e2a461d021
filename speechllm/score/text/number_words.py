"""The English words that `numbers.py` reads: kinds and values as in Whisper's."""

_TEENS = (
    "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
)
_SCALES = (
    "million billion trillion quadrillion quintillion sextillion septillion octillion"
    " nonillion decillion"
)
_IRREGULAR = {"five": "fifth", "twelve": "twelfth"}

ZEROS = {"o", "oh", "zero"}
ONES = {name: i for i, name in enumerate(_TEENS.split(), start=1)}
TENS = {
    name: 10 * i
    for i, name in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
MULTIPLIERS = {"hundred": 100, "thousand": 1000}
MULTIPLIERS |= {name: 1000**i for i, name in enumerate(_SCALES.split(), start=2)}

ONES_SUFFIXED = {("sixes" if n == "six" else n + "s"): (v, "s") for n, v in ONES.items()}
ONES_SUFFIXED |= {
    "zeroth": (0, "th"),
    "first": (1, "st"),
    "second": (2, "nd"),
    "third": (3, "rd"),
}
ONES_SUFFIXED |= {
    _IRREGULAR.get(n, n + ("h" if n.endswith("t") else "th")): (v, "th")
    for n, v in ONES.items()
    if v > 3
}
TENS_SUFFIXED = {n.replace("y", "ies"): (v, "s") for n, v in TENS.items()}
TENS_SUFFIXED |= {n.replace("y", "ieth"): (v, "th") for n, v in TENS.items()}
MULTIPLIERS_SUFFIXED = {n + "s": (v, "s") for n, v in MULTIPLIERS.items()}
MULTIPLIERS_SUFFIXED |= {n + "th": (v, "th") for n, v in MULTIPLIERS.items()}
SIGNS = {"minus": "-", "negative": "-", "plus": "+", "positive": "+"}
CURRENCIES = {"pound": "£", "euro": "€", "dollar": "$", "cent": "¢"}
CURRENCIES |= {name + "s": sign for name, sign in CURRENCIES.items()}

PREFIXES = set("-+£€$¢")
DECIMALS = {*ONES, *TENS, *ZEROS}

# Kind of each word; the first kind that holds a word wins, as in the source.
_KINDS = {
    "zero": dict.fromkeys(ZEROS),
    "one": ONES,
    "one_suffixed": ONES_SUFFIXED,
    "ten": TENS,
    "ten_suffixed": TENS_SUFFIXED,
    "multiplier": MULTIPLIERS,
    "multiplier_suffixed": MULTIPLIERS_SUFFIXED,
    "sign": SIGNS,
    "currency": CURRENCIES,
    "percent": {"per": None, "percent": None},
    "special": dict.fromkeys(("and", "double", "triple", "point")),
}
KIND = {w: kind for kind, words in reversed(_KINDS.items()) for w in words}
# Words without which the text cannot change ("and" alone never does).
TRIGGERS = frozenset(KIND) - {"and"} | {"half"}
