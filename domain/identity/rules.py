"""Rules for what people type to identify themselves: addresses and passwords.

A password is judged only when it is chosen. When it is presented it is only brought into the form that is hashed;
nothing here may tell whether an account exists.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from domain.errors import BadUserInput
from domain.identity.common_words import COMMON_HERE

MIN_PASSWORD: Final = 15
MIN_PASSWORD_WITH_FACTOR: Final = 8
MAX_PASSWORD_BYTES: Final = 1_024
MAX_EMAIL: Final = 320

_LOCAL: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_LEAST_DISTINCT: Final = 6
_LEAST_DISTINCT_WITH_FACTOR: Final = 4
# What zxcvbn takes for strong against guesses at stolen slow hashes, and where a second factor is needed as well,
# against guesses at the login. By the pace of our login 10**6 are some 28 years.
_LEAST_GUESSES: Final = 1e10
_LEAST_GUESSES_WITH_FACTOR: Final = 1e6
_SHORTEST_WORD: Final = 3


def email(text: str, *, field: str = "email") -> str:
    """The case-folded form of an address to be stored. Raises BadUserInput unless it is `name@host` in ASCII."""
    folded = text.casefold()
    local, at, domain = folded.rpartition("@")
    if (
        not text.isascii()
        or len(folded) > MAX_EMAIL
        or not at
        or not 1 <= len(local) <= 64
        or not 1 <= len(domain) <= 253
        or _LOCAL.fullmatch(local) is None
        or not all(_LABEL.fullmatch(label) for label in domain.split("."))
    ):
        raise BadUserInput("expected an address like name@example.org", field=field)
    return folded


def email_to_look_up(text: str) -> str | None:
    """The form in which an address would be stored; None when no account can have it."""
    try:
        return email(text)
    except BadUserInput:
        return None


def presented_password(text: str, *, field: str = "password") -> str:
    """The form of a password that is hashed: NFC, nothing trimmed, nothing cut.

    Raises BadUserInput when no account can have it (too long, NUL, lone surrogates).
    """
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise BadUserInput("NUL and lone surrogate characters are not allowed", field=field)
    # Bounded before it is normalised: NFC can lengthen a text, and its cost grows with the text.
    if len(text) > MAX_PASSWORD_BYTES:
        raise BadUserInput(f"expected at most {MAX_PASSWORD_BYTES} bytes", field=field)
    password = unicodedata.normalize("NFC", text)
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        raise BadUserInput(f"expected at most {MAX_PASSWORD_BYTES} bytes", field=field)
    return password


def shortest_password(*, mfa_required: bool) -> int:
    """How many characters a password needs that is chosen now: fewer where nobody signs in by it alone."""
    return MIN_PASSWORD_WITH_FACTOR if mfa_required else MIN_PASSWORD


def chosen_password(text: str, *, shortest: int, address: str, field: str = "password") -> str:
    """A password that somebody wants to have, checked and in the form that is hashed.

    `shortest` characters or more, not of the same few, and without the e-mail address. Whether it is easily guessed is
    asked next, of `require_unguessable`. No rule about kinds of characters (NIST SP 800-63B-4). Raises BadUserInput.
    """
    password = presented_password(text, field=field)
    if len(password) < shortest:
        raise BadUserInput(f"expected at least {shortest} characters, got {len(password)}", field=field)
    folded = password.casefold()
    if address in folded:
        raise BadUserInput("a password may not contain the e-mail address", field=field)
    if len(set(folded)) < (_LEAST_DISTINCT_WITH_FACTOR if shortest < MIN_PASSWORD else _LEAST_DISTINCT):
        raise BadUserInput("this repeats the same few characters; choose another one", field=field)
    return password


def words_about(address: str, name: str) -> list[str]:
    """What whoever guesses the password of this account tries first, in lower case."""
    local, _, domain = address.partition("@")
    shown = name.casefold().split()
    words = [local, *re.split(r"[._+-]", local), domain, *domain.split("."), *shown, "".join(shown), *COMMON_HERE]
    return [word for word in dict.fromkeys(words) if len(word) >= _SHORTEST_WORD]


def require_unguessable(guesses: float, *, shortest: int, field: str = "password") -> None:
    """Raises BadUserInput for a password that takes too few guesses."""
    if guesses < (_LEAST_GUESSES_WITH_FACTOR if shortest < MIN_PASSWORD else _LEAST_GUESSES):
        raise BadUserInput(
            "this is easily guessed: it is made of common passwords, words, repetitions or words about the account;"
            " make it longer, or choose words that are rarer",
            field=field,
        )
