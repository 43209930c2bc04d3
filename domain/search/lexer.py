"""Cuts a filter into tokens, each with its column. Refuses what no token can start with."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from enum import Enum
from typing import Final

from domain.errors import BadUserInput

MAX_LENGTH: Final = 4_096


class TokenKind(Enum):
    """What a token is; its value names it in messages."""

    WORD = "a word"
    TEXT = "a text"
    KEY = "a quoted key"
    NUMBER = "a number"
    SYMBOL = "a symbol"
    END = "the end"


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is the content: of a TEXT without its quotes, of a KEY the whole `prefix.key` in two parts."""

    kind: TokenKind
    text: str
    column: int
    key: str = ""

    def shown(self) -> str:
        """The token as a message names it."""
        if self.kind is TokenKind.END:
            return "the end of the filter"
        return repr(self.text if len(self.text) <= 40 else self.text[:40] + "…")

    def is_word(self, word: str) -> bool:
        """Whether this is the keyword `word`, in any case."""
        return self.kind is TokenKind.WORD and self.text.lower() == word


def refuse(message: str, column: int, *, field: str = "filter") -> BadUserInput:
    """The error for a place of the text; `column` counts characters from 1."""
    return BadUserInput(f"column {column}: {message}", field=field)


_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![\w.])", re.ASCII)
_INFINITY: Final = re.compile(r"[+-]?(?:infinity|inf|nan)(?![\w./:-])", re.ASCII | re.IGNORECASE)
_WORD: Final = re.compile(r"[^\W\d][\w./:-]*")
_SYMBOL: Final = re.compile(r"!=|<=|>=|[=<>(),]")


def tokens(text: str, *, field: str = "filter") -> list[Token]:
    """The tokens of `text`, the last one of kind END. Raises BadUserInput naming the column."""
    if len(text) > MAX_LENGTH:
        raise refuse(f"longer than {MAX_LENGTH} characters", MAX_LENGTH + 1, field=field)
    found: list[Token] = []
    place = 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        token, place = _next(text, place, field)
        found.append(token)
    found.append(Token(TokenKind.END, "", len(text) + 1))
    return found


def _next(text: str, place: int, field: str) -> tuple[Token, int]:
    column = place + 1
    if text[place] in "'\"":
        content, end = _quoted(text, place, field)
        return Token(TokenKind.TEXT, content, column), end
    if match := _NUMBER.match(text, place) or _INFINITY.match(text, place):
        return Token(TokenKind.NUMBER, match[0], column), match.end()
    if match := _WORD.match(text, place):
        word, end = match[0], match.end()
        if word.endswith(".") and text[end : end + 1] in ('"', "`", "'") and end < len(text):
            key, end = _quoted(text, end, field)
            return Token(TokenKind.KEY, word[:-1], column, unicodedata.normalize("NFC", key)), end
        return Token(TokenKind.WORD, word, column), end
    if match := _SYMBOL.match(text, place):
        return Token(TokenKind.SYMBOL, match[0], column), match.end()
    raise refuse(f"unexpected character {text[place]!r}", column, field=field)


def _quoted(text: str, start: int, field: str) -> tuple[str, int]:
    """The content of the quoted text that opens at `start`, and the place after its closing quote."""
    quote = text[start]
    parts: list[str] = []
    place = start + 1
    while True:
        end = text.find(quote, place)
        if end < 0:
            raise refuse(f"the {quote} that opens here is never closed", start + 1, field=field)
        parts.append(text[place:end])
        if text[end + 1 : end + 2] != quote:
            break
        parts.append(quote)
        place = end + 2
    content = "".join(parts)
    for offset, character in enumerate(content):
        if character == "\x00" or "\ud800" <= character <= "\udfff":
            raise refuse("NUL and lone surrogate characters are not allowed", start + 2 + offset, field=field)
    return content, end + 1
