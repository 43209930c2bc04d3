r"""The regular expressions that `matches` takes: the part of RE2's syntax that is found in linear time.

Allowed: literals, `.`, classes `[a-z]` and `[^…]`, `\d \w \s` and their negations, escaped punctuation, `\n \t`,
groups `(…)` and `(?:…)`, `|`, `* + ? {m} {m,} {m,n}` (also lazy, which changes nothing here), `^`, `$`, and `(?i)` at
the start. Not allowed: back references, look-around, POSIX classes, other flags. Repetition counts multiply up to
1,000 over the whole expression.

Instead of judging a text and passing it on, `translate` writes a new pattern in PostgreSQL's spelling from what it
read, so that nothing that PostgreSQL's larger dialect gives a meaning to can slip through. Without back references
PostgreSQL runs it as a finite automaton.
"""

from __future__ import annotations

from typing import Final

from domain.names import MAX_TEXT

MAX_PATTERN: Final = MAX_TEXT
MAX_REPEAT: Final = 100
_MOST_DIGITS: Final = 18  # more are no number of repetitions either
MAX_EXPANSION: Final = 1_000
MAX_DEPTH: Final = 10

_CLASSES: Final = "dDwWsS"
_CONTROLS: Final = {"n": "\n", "t": "\t", "r": "\r"}
_SPECIAL: Final = frozenset("\\.^$*+?()[]{}|")


class PatternError(ValueError):
    """`offset` is the place in the pattern, from 0."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def translate(pattern: str) -> str:
    """`pattern` in PostgreSQL's spelling. Raises PatternError."""
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"a pattern has at most {MAX_PATTERN} characters", 0)
    reader = _Reader(pattern)
    flags = ""
    if pattern.startswith("(?i)"):
        reader.place, flags = 4, "(?i)"
    written, size = reader.alternatives(0)
    if reader.place < len(pattern):
        raise PatternError("this ) closes nothing", reader.place)
    if size > MAX_EXPANSION:
        raise PatternError(f"its repetitions multiply to more than {MAX_EXPANSION}", 0)
    # The group keeps a leading `***` or `(?…)` from being read as a directive.
    return f"{flags}(?:{written})"


class _Reader:
    """Recursive descent over one pattern; every method answers what it wrote and its expanded size."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.place = 0

    def peek(self) -> str:
        return self.pattern[self.place : self.place + 1]

    def alternatives(self, depth: int) -> tuple[str, int]:
        if depth > MAX_DEPTH:
            raise PatternError(f"groups are nested deeper than {MAX_DEPTH}", self.place)
        branches: list[str] = []
        total = 0
        while True:
            written, size = self.sequence(depth)
            branches.append(written)
            total += size
            if self.peek() != "|":
                return "|".join(branches), total
            self.place += 1

    def sequence(self, depth: int) -> tuple[str, int]:
        parts: list[str] = []
        total = 0
        while self.peek() not in ("", "|", ")"):
            written, size = self.repeated(depth)
            parts.append(written)
            total += size
        return "".join(parts) or "(?:)", max(total, 1)

    def repeated(self, depth: int) -> tuple[str, int]:
        start = self.place
        if self.peek() in "^$":
            self.place += 1
            if self.peek() in tuple("*+?{"):
                raise PatternError("an anchor cannot be repeated", self.place)
            return self.pattern[start], 1
        written, size = self.atom(depth)
        quantifier, factor = self.quantifier()
        if quantifier and self.peek() == "?":
            self.place += 1
        if quantifier and self.peek() in tuple("*+?{"):
            raise PatternError("a repetition cannot be repeated; use a group", self.place)
        size *= factor
        if size > MAX_EXPANSION:
            raise PatternError(f"its repetitions multiply to more than {MAX_EXPANSION}", start)
        return written + quantifier, size

    def quantifier(self) -> tuple[str, int]:
        character = self.peek()
        if character in tuple("*+?"):
            self.place += 1
            return character, 1
        if character != "{":
            return "", 1
        start = self.place
        end = self.pattern.find("}", start)
        low, comma, high = self.pattern[start + 1 : end].partition(",") if end > 0 else ("", "", "")
        if not _is_count(low) or (high and not _is_count(high)):
            raise PatternError("expected {m}, {m,} or {m,n}; write \\{ for the character", start)
        least, most = int(low), int(high or low)
        if least > most or most > MAX_REPEAT:
            raise PatternError(f"expected repetitions from 0 to {MAX_REPEAT}, the smaller first", start)
        self.place = end + 1
        return f"{{{least}{comma}{most if high else ''}}}", max(most, 1)

    def atom(self, depth: int) -> tuple[str, int]:
        start, character = self.place, self.peek()
        self.place += 1
        if character == "(":
            return self.group(start, depth)
        if character == "[":
            return self.bracket(start), 1
        if character == "\\":
            return self.escape(start, in_class=False), 1
        if character == ".":
            return "[^\\n]", 1
        if character in _SPECIAL:
            raise PatternError(f"write \\{character} for the character {character}", start)
        return character, 1

    def group(self, start: int, depth: int) -> tuple[str, int]:
        if self.peek() == "?":
            if not self.pattern.startswith("?:", self.place):
                raise PatternError("of the (?…) forms only (?:…), and (?i) at the start, are allowed", start)
            self.place += 2
        written, size = self.alternatives(depth + 1)
        if self.peek() != ")":
            raise PatternError("the ( that opens here is never closed", start)
        self.place += 1
        return f"(?:{written})", size

    def escape(self, start: int, *, in_class: bool) -> str:
        character = self.peek()
        self.place += 1
        if character and character in _CLASSES:
            if in_class and character.isupper():
                raise PatternError(f"\\{character} is not allowed inside [ ]", start)
            return f"\\{character}"
        if character in _CONTROLS:
            return f"\\{character}"
        if character and character.isascii() and not character.isalnum() and character.isprintable():
            return f"\\{character}"
        raise PatternError(f"unknown escape \\{character}", start)

    def bracket(self, start: int) -> str:
        parts: list[str] = []
        if self.peek() == "^":
            parts.append("^")
            self.place += 1
        empty = True
        while self.peek() != "]" or empty:
            if not self.peek():
                raise PatternError("the [ that opens here is never closed", start)
            parts.append(self.range())
            empty = False
        self.place += 1
        return f"[{''.join(parts)}]"

    def range(self) -> str:
        start = self.place
        low, first = self.member()
        if self.peek() != "-" or self.pattern[self.place + 1 : self.place + 2] in ("]", ""):
            return low
        self.place += 1
        high, last = self.member()
        if not first or not last or first > last:
            raise PatternError("a range needs two characters, the smaller first", start)
        return f"{low}-{high}"

    def member(self) -> tuple[str, str]:
        """One character of a class: as written, and as itself ("" for a class escape)."""
        start, character = self.place, self.peek()
        self.place += 1
        if character == "\\":
            written = self.escape(start, in_class=True)
            return written, "" if written[1] in _CLASSES else _CONTROLS.get(written[1], written[1])
        if character in ("[", "]"):
            raise PatternError(f"write \\{character} inside [ ]", start)
        return ("\\" + character if character in ("-", "^") else character), character


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
