"""How many guesses a password takes, by the lists and patterns of zxcvbn.

Its patterns are matched one by one instead of by its own search: that one tries every combination of substitutions,
which takes seconds for 70 characters, shares what it knows of one user with the next, and takes many common words for
a strong password. Here each pattern counts by itself, and their guesses are multiplied.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import ModuleType

MOST_JUDGED: Final = 64
"""Characters that are looked at. The rest could only make a password harder to guess."""

_BY_CHARACTER: Final = 10.0  # zxcvbn's cost of a character that is part of no pattern
_BY_RARE_CHARACTER: Final = 100.0  # and of one outside ASCII, where its patterns know nothing and there are thousands
_REPEATED: Final = (re.compile(r"(.+?)\1+", re.DOTALL), re.compile(r"(.+)\1+", re.DOTALL))

_Ranks = dict[str, dict[str, int]]


def guesses(password: str, words: Sequence[str] = ()) -> float:
    """The guesses until this password, at least 1, by somebody who tries common passwords, words, names, dates, runs.

    `words` are known to whoever guesses, first to last. Capitals, substitutions (`p4ssw0rd`), and one separator between
    the parts make nothing harder. Tens of milliseconds of computing at most; the lists are read at the first call.
    """
    matching, _ = _patterns()
    ranks = {**matching.RANKED_DICTIONARIES, "user_inputs": {word: place for place, word in enumerate(words, 1)}}
    text = password.casefold()[:MOST_JUDGED]
    least = _guesses(text, ranks)
    separators = {character for character in text if not character.isalnum()}
    if len(separators) == 1:
        least = min(least, _guesses(text.replace(separators.pop(), ""), ranks))
    return least


def _guesses(text: str, ranks: _Ranks) -> float:
    """Those of the best way to cut the text into patterns and single characters."""
    ending: list[list[tuple[int, float]]] = [[] for _ in text]
    for start, last, cost in _found(text, ranks):
        ending[last].append((start, cost))
    best = [1.0]  # for each length of the beginning
    for character, patterns in zip(text, ending, strict=True):
        alone = best[-1] * (_BY_CHARACTER if character.isascii() else _BY_RARE_CHARACTER)
        best.append(min([alone, *(best[start] * cost for start, cost in patterns)]))
    return best[-1]


def _found(text: str, ranks: _Ranks) -> Iterator[tuple[int, int, float]]:
    """Patterns in the text: where each begins and ends, and its guesses."""
    matching, scoring = _patterns()
    matches = [
        found
        for look in (
            matching.dictionary_match,
            matching.reverse_dictionary_match,
            matching.spatial_match,
            matching.sequence_match,
            matching.regex_match,
            matching.date_match,
        )
        for found in look(text, _ranked_dictionaries=ranks)
    ]
    for table in _substitutions():
        plain = text.translate(table)
        if plain != text:
            matches += matching.dictionary_match(plain, _ranked_dictionaries=ranks)
    for found in matches:
        yield found["i"], found["j"], float(scoring.estimate_guesses(found, text))
    for pattern in _REPEATED:
        for again in pattern.finditer(text):
            yield again.start(), again.end() - 1, _guesses(again[1], ranks) * (len(again[0]) // len(again[1]))


@cache
def _substitutions() -> tuple[dict[int, str], ...]:
    """What stands for which letter: with the first and the last of two letters where it may be either, signs alone."""
    first: dict[int, str] = {}
    last: dict[int, str] = {}
    for letter, characters in _patterns()[0].L33T_TABLE.items():
        for character in characters:
            first.setdefault(ord(character), letter)
            last[ord(character)] = letter
    return first, last, {place: letter for place, letter in first.items() if not chr(place).isdigit()}


@cache
def _patterns() -> tuple[ModuleType, ModuleType]:
    # Late: the lists take some 15 MiB, and most processes never see a password chosen.
    from zxcvbn import matching, scoring

    return matching, scoring
