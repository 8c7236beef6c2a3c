"""Vocabularies of the reader: function names, units, connectives, fillers."""

# ruff: noqa: SIM905 (vocabularies read better as lines of words)
from __future__ import annotations

from itertools import pairwise

FUNCTION_WORDS: dict[str, str] = {
    **{name: name for name in "sin cos tan cot sec csc sinh cosh tanh coth sech csch exp ln log abs floor ceil "
       "gcd lcm min max sign det arg gamma zeta".split()},
    **{f"arc{name}": f"a{name}" for name in "sin cos tan cot sec csc sinh cosh tanh coth sech csch".split()},
    **{f"ar{name}": f"a{name}" for name in "sinh cosh tanh coth sech csch".split()},
    **{f"a{name}": f"a{name}" for name in "sin cos tan cot sec csc sinh cosh tanh coth sech csch".split()},
    "arctg": "atan", "arcctg": "acot", "arccotg": "acot",
    "tg": "tan", "ctg": "cot", "cotg": "cot", "cosec": "csc", "lg": "log10", "log10": "log10", "log2": "log2",
    "sqrt": "sqrt", "cbrt": "cbrt",
    "cis": "cis", "sgn": "sign", "ceiling": "ceil", "binomial": "binom", "binom": "binom",
    "factorial": "factorial", "Re": "re", "Im": "im", "conjugate": "conj", "Arg": "arg", "hcf": "gcd",
    "GCD": "gcd", "LCM": "lcm", "Gamma": "gamma", "fibonacci": "fibonacci",
}  # fmt: skip
"""Names of Call by spelling (sqrt, cbrt, log2 and log10 are built by the parser)."""

COMMAND_FUNCTIONS = frozenset(FUNCTION_WORDS) - {"sqrt", "cbrt", "Re", "Im", "zeta", "gamma", "Gamma", "binom"}
"""Functions that are LaTeX commands of the same name, with one argument."""

NAMED_FUNCTIONS = frozenset("erf erfc sinc ord deg tr rank dim Var Cov Ei Si Ci".split())
"""Functions that are names in upright letters, before brackets. Nothing is known of their values."""

ARITY = {
    **dict.fromkeys(("max", "min", "gcd", "lcm"), range(1, 4096)),
    **dict.fromkeys(("binom", "perm", "mod"), range(2, 3)),
    "log": range(1, 3),
}
"""Number of arguments of functions that do not take exactly one."""

INVERSE = {name: f"a{name}" for name in "sin cos tan cot sec csc sinh cosh tanh coth sech csch".split()}
"""The inverse function that f^{-1} means."""

PREFIX_FUNCTIONS = ("sqrt", "arcsin", "arccos", "arctan", "sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "pi")
"""Names that may precede their argument without a space in plain text: sinx, pir."""

GREEK = frozenset(
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi omicron rho varrho "
    "sigma varsigma tau upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega "
    "ell hbar aleph".split()
)
GREEK_ALIAS = {"varepsilon": "epsilon", "vartheta": "theta", "varphi": "phi", "varrho": "rho", "varsigma": "sigma"}

CONST_WORDS = {"pi": "pi", "infty": "oo", "infinity": "oo", "inf": "oo", "Infinity": "oo", "oo": "oo"}

SET_LETTERS = frozenset("NZQRC")

_LENGTH = {
    "mm": "millimeter millimeters millimetre millimetres",
    "cm": "centimeter centimeters centimetre centimetres cms",
    "dm": "decimeter decimeters decimetre decimetres",
    "m": "meter meters metre metres",
    "km": "kilometer kilometers kilometre kilometres kms",
    "in": "inch inches",
    "ft": "foot feet",
    "yd": "yard yards yds",
    "mi": "mile miles",
}
_OTHER = {
    "s": "second seconds sec secs",
    "min": "minute minutes mins",
    "h": "hour hours hr hrs",
    "day": "days",
    "week": "weeks wk wks",
    "month": "months",
    "year": "years yr yrs",
    "mg": "milligram milligrams",
    "g": "gram grams",
    "kg": "kilogram kilograms kgs",
    "lb": "lbs",
    "pound": "pounds",
    "oz": "ounce ounces",
    "ton": "tons tonne tonnes",
    "mL": "milliliter milliliters millilitre millilitres ml",
    "L": "liter liters litre litres",
    "gal": "gallon gallons",
    "quart": "quarts",
    "pint": "pints",
    "cup": "cups",
    "dollar": "dollars usd",
    "cent": "cents",
    "euro": "euros eur",
    "yuan": "rmb",
    "yen": "",
    "percent": "pct percentage percents",
    "degree": "degrees deg",
    "radian": "radians rad rads",
    "mph": "",
    "kph": "kmh",
    "N": "newton newtons",
    "J": "joule joules",
    "W": "watt watts",
    "V": "volt volts",
    "A": "amp amps ampere amperes",
    "Hz": "hertz",
    "Pa": "pascal pascals",
    "K": "kelvin",
    "ohm": "ohms",
    "mol": "moles mole",
    "C": "coulomb coulombs",
    "T": "tesla teslas",
    "F": "farad farads",
    "eV": "electronvolt electronvolts",
    "cal": "calorie calories",
    "atm": "atmosphere atmospheres",
    "bar": "bars",
    "torr": "",
    "kWh": "kwh",
    "rpm": "",
    "angstrom": "angstroms Å Å",
    "gauss": "",
    "psi": "",
    "unit": "units",
    "ordinal": "th st nd rd",
}
_PREFIXES = {
    "p": ("pico", -12), "n": ("nano", -9), "u": ("micro", -6), "m": ("milli", -3), "k": ("kilo", 3), "M": ("mega", 6),
    "G": ("giga", 9),
}  # fmt: skip
_TAKE_PREFIXES = {
    "m": "meter metre", "s": "second", "g": "gram", "J": "joule", "W": "watt", "V": "volt", "A": "amp ampere",
    "Hz": "hertz", "Pa": "pascal", "N": "newton", "mol": "mole", "C": "coulomb", "T": "tesla", "F": "farad",
    "eV": "electronvolt", "ohm": "ohm", "cal": "calorie", "L": "liter litre",
}  # fmt: skip
_NO_UNITS = frozenset(("pm", "us"))
"""Ambiguous with a half of the day and with the word "us"."""
PREFIXED: dict[str, tuple[str, int]] = {
    prefix + unit: (unit, power) for unit in _TAKE_PREFIXES for prefix, (_, power) in _PREFIXES.items()
}
"""(unit, power of ten) by canonical unit with a prefix: "kJ" -> J, 3."""
UNITS: dict[str, str] = {
    spelling: unit
    for table in (_LENGTH, _OTHER)
    for unit, spellings in table.items()
    for spelling in (unit, *spellings.split())
}
_SPELLED = {
    f"{word}{name}{ending}": prefix + unit
    for unit, names in _TAKE_PREFIXES.items()
    for prefix, (word, _) in _PREFIXES.items()
    for name in names.split()
    for ending in ("", "s")
} | {"micron": "um", "microns": "um", "kilohm": "kohm", "kilohms": "kohm", "megohm": "Mohm", "megohms": "Mohm"}
_SYMBOLS = frozenset(PREFIXED) - frozenset(UNITS) - _NO_UNITS
UNITS = {**{name: name for name in _SYMBOLS}, **_SPELLED, **UNITS}
"""Canonical units by spelling."""

UNIT_LETTERS = frozenset("m s h g L N J W V A K C T F atm bar eV".split()) | _SYMBOLS
"""Units that could be products of letters. They are units only inside \\text or \\mathrm after a number."""

PLAIN_UNITS = frozenset(
    spelling
    for spelling in UNITS
    if len(spelling) > 1
    and spelling not in UNIT_LETTERS
    and spelling not in {"min", "th", "st", "nd", "rd", "deg", "rad"}
) | {"th", "st", "nd", "rd", "deg", "rad", "min"}
"""Units that may follow a number in plain text."""

COMPOUND_UNITS = " year month week day h min s yd ft in km m cm mm kg g lb pound oz dollar cent "
"""Units of a compound quantity, from the largest of each kind: 5 ft 6 in."""

SQUARE = {"square": 2, "sq": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}

JOINERS = {"and": "and", "or": "or", "et": "and", "ou": "or", "und": "and", "oder": "or"}

QUALIFIERS = frozenset(
    "for where when if with such whenever provided given assuming while as because since given".split()
)
"""Words that begin a condition."""

FILLERS = frozenset(
    "the answer option choice letter is are final therefore thus so hence only exactly value equals equal "
    "approximately about around "
    "we get have solution solutions ans result be to a an then total there of "
    "réponse est respuesta es antwort ist la le el".split()
)
"""Words without meaning before a value."""

SCALES = {
    "dozen": 12, "dozens": 12, "score": 20, "gross": 144, "hundred": 100, "hundreds": 100, "thousand": 1000,
    "thousands": 1000, "million": 10**6, "millions": 10**6, "billion": 10**9, "billions": 10**9, "trillion": 10**12,
    "trillions": 10**12, "tens": 10, "quadrillion": 10**15, "quintillion": 10**18, "lakh": 10**5, "lakhs": 10**5,
    "lac": 10**5, "lacs": 10**5, "crore": 10**7, "crores": 10**7, "myriad": 10**4,
}  # fmt: skip
"""Words after a number that multiply it."""
FRACTION_WORDS = {
    "halves": 2, "thirds": 3, "fourths": 4, "fifths": 5, "sixths": 6, "sevenths": 7, "eighths": 8, "ninths": 9,
    "tenths": 10, "elevenths": 11, "twelfths": 12, "twentieths": 20, "hundredths": 100, "thousandths": 1000,
    "millionths": 10**6, "billionths": 10**9, "hundredth": 100, "thousandth": 1000, "millionth": 10**6,
}  # fmt: skip
"""Words after a number that divide it, without "quarters", which are coins too."""
NOT_UNITS = frozenset(
    "or not and no but except nor either neither maybe perhaps possibly than versus vs to between else instead "
    "wrong incorrect unknown minus plus times over hundred thousand million billion trillion dozen half twice double "
    "negative squared cubed root more less least most up down over under am pm noon midnight "
    "is are was were has have thousands hundreds millions squares cubes percentile percentiles "
    "half third fourth fifth sixth seventh eighth ninth tenth reciprocal inverse opposite factorial mod modulo "
    "remainder rem base divided multiplied added subtracted plusminus fold".split()
)
"""Words that may change a value: text with one of these after a number is never a unit."""

DIRECTIONS = frozenset(
    "north south east west northeast northwest southeast southwest northern southern eastern western up "
    "down upward upwards downward downwards above below over under clockwise counterclockwise "
    "anticlockwise forward forwards backward backwards ahead behind inward inwards outward outwards "
    "uphill downhill upstream downstream inside outside toward towards earlier later before after ago "
    "early late past sooner since until profit loss gain increase decrease increased decreased rise fall "
    "drop discount markup surplus deficit debt credit debit growth decline reduction raise cut profits losses "
    "gains increases decreases higher lower faster slower older younger taller shorter longer bigger "
    "smaller larger greater fewer heavier lighter closer farther further nearer warmer colder hotter "
    "cooler deeper wider narrower thicker thinner cheaper richer poorer better worse increasing "
    "decreasing won lost into out".split()
)
"""Words after a value or a unit that say in which direction, order or sense: two sides must say the same of it."""

SAME_DIRECTIONS = {
    word: name
    for name, words in {
        "profit": "profits gain gains", "loss": "losses", "down": "downward downwards", "up": "upward upwards",
        "increase": "increased increases increasing rise growth raise",
        "decrease": "decreased decreases decreasing fall drop decline reduction cut",
        "forward": "forwards ahead", "backward": "backwards", "counterclockwise": "anticlockwise",
        "inward": "inwards", "outward": "outwards", "toward": "towards", "before": "earlier", "after": "later",
        "north": "northern", "south": "southern", "east": "eastern", "west": "western", "above": "over",
        "below": "under", "longer": "taller", "farther": "further",
    }.items()
    for word in words.split()
}  # fmt: skip
"""Directions by other words for them."""

CONTRARY_NOUNS = frozenset(
    "positive left right long wide high deep tall thick broad away apart male female red green blue "
    "yellow white black brown orange purple pink gray grey gold silver big small large little old young "
    "new hot cold front back top bottom first second third last heavy light open closed full empty odd "
    "even hard soft inner outer real complex imaginary distinct equal repeated identical".split()
)
"""Words of a counted noun that may be left out or added, but not be others."""

NOUN_FILLERS = frozenset(
    "of in for the a an each total per possible different on at this that altogether overall exactly "
    "precisely".split()
)
"""Words of a counted noun without a meaning of their own: 8 cards of each color."""

PLURALS = frozenset(
    "people men women children feet mice sheep fish dice geese teeth oxen deer cattle police pence data "
    "media bacteria vertices matrices axes radii digits ways species series offspring aircraft left each "
    "total old text money water milk rice sugar flour red green blue yellow white black brown orange "
    "purple pink gray grey male female stunden minuten sekunden wochen monate jahre gradi giorni metri minuti "
    "anni menit hari buah orang cara tahun personen stück".split()
)
"""Plurals that do not end in s, and other words that may follow a count: 5 left, 12 red."""
VALUES = frozenset("solution solutions root roots zero zeros zeroes value values answer answers".split())
"""Counted nouns that are values of a variable: 2 solutions are no value of it."""
NUMBERS = frozenset("integer integers number numbers pair pairs triple triples possibility possibilities".split())
"""Counted nouns that are such values, unless the variable is one of `COUNTS`."""
COUNTS = frozenset("nmk")
"""Variables that often are a number of things."""
_ADJECTIVE_ENDINGS = ("ed", "ly", "ous", "ive", "less", "ible")
_NOUNS_LIKE_ADJECTIVES = frozenset(
    "seed feed bed weed shed speed breed reed sled red hundred family fly butterfly jelly lily reply ally five olive "
    "dive motive house bible".split()
)


def is_counted_noun(words: list[str], known_unit: bool, one: bool) -> bool:
    """Return True if words after a number can be what is counted: a plural is among them and none judges the number.

    After a known unit, and after one or a fraction, a singular will do.
    """
    if words[-1] == "of" or _has_an_object(words):
        return False
    content = [word for word in words if word not in NOUN_FILLERS]
    last = content[-1] if content else ""
    if last in NUMBER_WORDS and last != "one":
        return False  # 6 percent of ten
    if last.endswith(_ADJECTIVE_ENDINGS) and last not in _NOUNS_LIKE_ADJECTIVES:
        return False
    if not all(word.isascii() for word in content):
        return _NO_CHINESE_NOUN.isdisjoint("".join(content))
    if known_unit or one or not content:
        return True
    return any(
        (word.endswith("s") and not word.endswith("ss") and len(word) > 2) or word in PLURALS for word in content
    )


def _has_an_object(words: list[str]) -> bool:
    """Return True for a verb and its object, "violates the condition": a noun has a preposition between."""
    if words[-1] in _POINTING and len(words) > 1 and words[-2] not in NOUN_FILLERS:
        return True
    return not _PRONOUNS.isdisjoint(words) or any(
        word in ARTICLES and before not in NOUN_FILLERS and before not in ARTICLES for before, word in pairwise(words)
    )


_PRONOUNS = frozenset("it them they he she we you me us him her i its".split())
_POINTING = frozenset(("this", "that", "these", "those"))
_NO_CHINESE_NOUN = frozenset("不非无没未约余超满至折成半负倒多少或和以")
"""Characters of words after a number that deny, scale or bound it: 3成, 25以下."""
DENIALS = frozenset(
    "rejected short overdue exclusive tens zillion zillions gazillion ppm ppb permille mille bn mn mil "
    "kilo mega giga tera milli micro nano hundredweight unless maybe bogus wrong true denied excluded "
    "omitted removed missing invalid false incorrect wrong impossible unsolved refuted disproved "
    "disproven untrue mistaken discarded ruled failed cancelled canceled except without excluding zero "
    "non none nothing never neither nor not no fails isn't false refused void retracted crossed too many "
    "docena docenas decena decenas duzia duzias dutzend douzaine douzaines millones milhoes milhares millionen "
    "milliarden milliards milliard milliers centenas cientos centaines tausend hunderte miliardi milioni migliaia "
    "ribu juta ratus "
    "тысяч тысячи тысяча миллион миллиона миллионов миллиард миллиардов сотен сотни десятков дюжин дюжина "
    "octal binary hex hexadecimal ternary nautical troy imperial "
    "sometimes always often usually few almost nearly barely hardly about approximately roughly".split()
)
"""Words after a number that deny it, or bring another: never a unit."""

PHRASES = {
    "no solution": "no solution", "no solutions": "no solution", "no real solution": "no solution",
    "no real solutions": "no solution", "there is no solution": "no solution",
    "there are no solutions": "no solution",
    "no such": "no solution", "none": "no solution", "no roots": "no solution", "no real roots": "no solution",
    "empty set": "no solution", "does not exist": "does not exist", "dne": "does not exist",
    "infinitely many": "infinitely many", "infinitely many solutions": "infinitely many",
    "infinite": "infinitely many",
    "infinitely many solution": "infinitely many",
    "undefined": "undefined", "true": "true", "false": "false", "yes": "yes", "no": "no", "cannot be determined":
    "cannot be determined", "not possible": "impossible", "impossible": "impossible", "nan": "undefined",
    "divergent": "diverges", "convergent": "converges", "absolutely convergent": "converges absolutely",
    "conditionally convergent": "converges conditionally", "all integers": "integers", "set of integers": "integers",
    "set of all integers": "integers", "all natural numbers": "natural numbers",
    "set of natural numbers": "natural numbers", "set of all natural numbers": "natural numbers",
    "all rational numbers": "rational numbers", "rationals": "rational numbers",
    "set of rational numbers": "rational numbers", "all complex numbers": "complex numbers",
    "set of complex numbers": "complex numbers", "no real solution exists": "no solution",
    "no solution exists": "no solution", "no solutions exist": "no solution",
}  # fmt: skip
"""Set phrases and their canonical form."""

MEASURES = frozenset(
    "the a an value maximum minimum max min maximal minimal least greatest smallest largest area volume perimeter "
    "length width height radius diameter probability sum product total number distance slope average mean median "
    "expected".split()
)
"""Words that may precede "is", as in "the maximum value is 5"."""

ARTICLES = frozenset({"a", "an", "the"})

NUMBER_WORDS = {
    word: n
    for n, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split()
    )
} | {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}

_TENS = frozenset("twenty thirty forty fifty sixty seventy eighty ninety".split())
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
PARTS_OF_ONE = {
    **{word: n for n, word in enumerate("half third quarter fifth sixth seventh eighth ninth tenth".split(), 2)},
    **{word: n for n, word in enumerate("halves thirds quarters fifths sixths sevenths eighths ninths".split(), 2)},
    **{word: n for n, word in enumerate("eleventh twelfth thirteenth fourteenth fifteenth sixteenth".split(), 11)},
    **{
        word: n
        for n, word in enumerate(
            "tenths elevenths twelfths thirteenths fourteenths fifteenths sixteenths".split(), 10
        )
    },
    "fourth": 4, "fourths": 4, "twentieth": 20, "twentieths": 20, "hundredth": 100, "hundredths": 100,
    "thousandth": 1000, "thousandths": 1000,
}  # fmt: skip

SUBJECTS = frozenset("limit series integral sequence sum".split())
"""Subjects of a predicate such as "diverges"; they may be omitted without a change of meaning."""
PREDICATES = frozenset(("diverges", "converges", "does", "divergent", "convergent"))


def spelled_number(words: list[str]) -> tuple[int, int] | None:
    """Return (p, q) of "twenty one", "two hundred five", "minus seven", "two thirds"; None for other words."""
    if words and words[0] in ("minus", "negative") and len(words) > 1:
        result = spelled_number(words[1:])
        return None if result is None or result[0] < 0 else (-result[0], result[1])
    if len(words) == 2 and words[1] in PARTS_OF_ONE and words[0] in NUMBER_WORDS:
        return NUMBER_WORDS[words[0]], PARTS_OF_ONE[words[1]]
    if words in (["dozen"], ["a", "dozen"]):
        return 12, 1
    if words == ["half", "a", "dozen"]:
        return 6, 1
    if words == ["half"] or (
        len(words) == 2 and words[0] in ("a", "an") and PARTS_OF_ONE.get(words[1], 0) in range(2, 11)
    ):
        return 1, PARTS_OF_ONE[words[-1]]
    total = below = 0
    ceiling, room = 10**12, 1000
    for word in words:
        value = NUMBER_WORDS.get(word)
        if value is not None:
            if value >= room or (value == 0 and len(words) > 1):
                return None
            below += value
            room = 10 if word in _TENS else 1
        elif word == "hundred" and 0 < below < 100 and room < 1000:
            below, room = below * 100, 100
        elif word in _SCALES and below > 0 and _SCALES[word] < ceiling:
            total, below, ceiling, room = total + below * _SCALES[word], 0, _SCALES[word], 1000
        else:
            return None
    return (total + below, 1) if words else None


def spelled_time(words: list[str]) -> int | None:
    """Return the minutes of "half past seven", 7:30, and "a quarter to six" on a clock; None for other words."""
    if words[:1] == ["a"]:
        words = words[1:]
    if len(words) != 3 or words[1] not in ("past", "to") or words[0] not in ("half", "quarter"):
        return None
    hour = NUMBER_WORDS.get(words[2], 0)
    if not 1 <= hour <= 12 or words[:2] == ["half", "to"]:
        return None
    minutes = 30 if words[0] == "half" else 15
    return hour * 60 + minutes if words[1] == "past" else (hour - 1 or 12) * 60 + 60 - minutes


def ordinal_word(n: int) -> str | None:
    """Return "third" for 3 and "twenty first" for 21, up to 99; None for other numbers."""
    tens, ones = divmod(n, 10)
    if 0 < n < 20:
        return _ORDINALS[n]
    if not 20 <= n < 100:
        return None
    ten = _CARDINALS[10 * tens]
    return f"{ten} {_ORDINALS[ones]}" if ones else f"{ten[:-1]}ieth"


_ORDINALS = (
    "zeroth first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
    "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth".split()
)
_CARDINALS = {n: word for word, n in NUMBER_WORDS.items()}


_VOWELS = frozenset("aeiou")


def is_word(run: str) -> bool:
    """Return True if a run of plain letters is a word rather than a product of variables."""
    if run in FUNCTION_WORDS or run in CONST_WORDS or run in GREEK:
        return False
    if len(run) < 4:
        if run in ("not", "nor", "odd", "red"):
            return True
        return len(run) == 3 and run[0].isupper() and run[1:].islower() and not _VOWELS.isdisjoint(run[1:])
    return not _VOWELS.isdisjoint(run.lower()) and len(set(run)) > 2 and not run.isupper()


_AFTER_LABEL = frozenset("is are was were has have wins loses does".split())


def text_word(value: str, first: bool, after: str) -> str:
    """Return a word of a text in lower case; the A of "Plan A" and of "A is a knight", which is no article, as it is.

    `after` is the next word.
    """
    if value == "A" and (after in _AFTER_LABEL or (not first and not (after[:1].isupper() and len(after) > 1))):
        return value
    return value.lower()


def is_variable(name: str) -> bool:
    """Return True for a small letter and for a Greek one."""
    return (len(name) == 1 and name.islower()) or name in GREEK


def known_unit(word: str) -> str | None:
    """Return the canonical unit of a word, or None.

    Names and the units of everyday life may be in capitals (KM, Kg). The case of other symbols with a prefix counts:
    nm is a nanometer, Nm is a newton meter, and nM and NM are neither.
    """
    unit = UNITS.get(word)
    return unit if unit is not None or word.lower() in _SYMBOLS else UNITS.get(word.lower())
