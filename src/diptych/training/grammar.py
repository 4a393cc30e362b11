"""Articles and plurals of the names of things: a few rules of English and the words that break them."""

from __future__ import annotations

IRREGULAR = {
    "mouse": "mice",
    "tooth": "teeth",
    "goose": "geese",
    "foot": "feet",
    "wolf": "wolves",
    "leaf": "leaves",
    "loaf": "loaves",
    "knife": "knives",
    "scarf": "scarves",
    "cactus": "cacti",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "volcano": "volcanoes",
    "tornado": "tornadoes",
    "mango": "mangoes",
    "mosquito": "mosquitoes",
    "superhero": "superheroes",
    "die": "dice",
    "dice": "dice",
    "sheep": "sheep",
    "deer": "deer",
    "reindeer": "reindeer",
    "fish": "fish",
    "jellyfish": "jellyfish",
    "shrimp": "shrimp",
    "bow and arrow": "bows and arrows",
    "fork and knife": "forks and knives",
    "thumbs up": "thumbs up",
    "man": "men",
    "woman": "women",
}
"""By the last word, or by the whole name."""
UNITS = {
    "glasses": "pair",
    "eyeglasses": "pair",
    "sunglasses": "pair",
    "shades": "pair",
    "scissors": "pair",
    "jeans": "pair",
    "trousers": "pair",
    "pants": "pair",
    "headphones": "pair",
    "lips": "pair",
    "grapes": "bunch",
    "french fries": "box",
    "fries": "box",
    "chips": "box",
    "popcorn": "box",
    "bread": "loaf",
    "french bread": "loaf",
    "cheese": "piece",
    "sushi": "piece",
    "broccoli": "piece",
    "garlic": "bulb",
    "corn": "ear",
    "maize": "ear",
    "sweetcorn": "ear",
    "chocolate": "bar",
    "coffee": "cup",
    "hot chocolate": "mug",
    "milk": "glass",
    "wine": "glass",
    "red wine": "glass",
    "beer": "mug",
    "champagne": "bottle",
    "honey": "jar",
    "spaghetti": "plate",
    "pasta": "plate",
    "noodles": "bowl",
    "ramen": "bowl",
    "soda": "cup",
    "boba": "cup",
    "yarn": "ball",
    "wool": "ball",
    "toilet paper": "roll",
    "money": "stack",
    "cash": "stack",
    "lightning": "bolt",
    "beef": "piece",
    "luggage": "piece",
    "cutlery": "set",
    "lavender": "bunch",
    "bricks": "wall",
    "poop": "pile",
    "poo": "pile",
}
"""Names without an article, and what they are counted by."""
UNCOUNTED = frozenset({"earth", "planet earth", "saturn", "mount fuji", "dracula"})
"""There is one, and it has no article."""
PROPER = frozenset({"santa claus", "santa"})
"""No article for one, but there can be two."""
SOUNDS_LIKE_CONSONANT = ("uni", "use", "uku", "ufo", "euro", "one-", "ewe")
SOUNDS_LIKE_VOWEL = ("hour", "suv", "x-ray")
WORDS_INSIDE = (" of ", " in ", " with ")
"""What follows these stays as it is: "slices of pizza"."""
NUMBERS = {2: "two", 3: "three"}


def article(phrase: str) -> str:
    """`a` or `an`, by the sound that `phrase` begins with."""
    if phrase.startswith(SOUNDS_LIKE_VOWEL):
        return "an"
    return "an" if phrase[0] in "aeiou" and not phrase.startswith(SOUNDS_LIKE_CONSONANT) else "a"


def plural(name: str) -> str:
    """The plural of a name that can be counted."""
    if name in IRREGULAR:
        return IRREGULAR[name]
    for inside in WORDS_INSIDE:
        if inside in name:
            head, rest = name.split(inside, 1)
            return f"{plural(head)}{inside}{rest}"
    *before, last = name.split(" ")
    return " ".join([*before, _plural_word(last)])


def _plural_word(word: str) -> str:
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word.endswith(("man", "men")) and word not in ("human", "german"):
        return word[:-2] + "en"
    if word.endswith("y") and word[-2:-1] not in ("a", "e", "i", "o", "u"):
        return word[:-1] + "ies"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    return word + "s"


def countable(name: str) -> bool:
    """Whether there can be two or three of it."""
    return name not in UNCOUNTED


def counted(name: str, count: int, adjectives: str = "") -> str:
    """`name` in the number that is meant: "an old key", "two old keys", "a pair of glasses", "three loaves of bread".

    adjectives: words that stand before the noun, or nothing.
    """
    noun = f"{adjectives} {name}".strip()
    if name in UNCOUNTED or (name in PROPER and noun == name and count == 1):
        return noun
    if name in UNITS:
        return counted(f"{UNITS[name]} of {noun}", count)
    return f"{article(noun)} {noun}" if count == 1 else f"{NUMBERS[count]} {f'{adjectives} {plural(name)}'.strip()}"


def bare_plural(name: str) -> str:
    """More than one, without saying how many: "keys", "grapes", "sheep"."""
    return name if name in UNITS or name in UNCOUNTED else plural(name)
