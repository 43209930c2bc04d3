"""Rules for what people type to identify themselves: addresses and passwords.

A password is judged only when it is chosen. When it is presented it is only brought into the form that is hashed;
nothing here may tell whether an account exists.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import pairwise
from typing import Final

from domain.errors import BadUserInput
from domain.identity.common_passwords import COMMON

MIN_PASSWORD: Final = 15
MIN_PASSWORD_WITH_FACTOR: Final = 8
MAX_PASSWORD_BYTES: Final = 1_024
MAX_EMAIL: Final = 320

_LOCAL: Final = re.compile(r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*", re.ASCII)
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_PRODUCT: Final = ("axonml", "axon")
_LEAST_REMAINDER: Final = 6
_LEAST_DISTINCT: Final = 6


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


def chosen_password(text: str, *, shortest: int, address: str, name: str, field: str = "password") -> str:
    """A password that somebody wants to have, checked and in the form that is hashed.

    `shortest` characters or more; it may not contain the e-mail address, and what remains of it without commonly used
    passwords, runs of neighbouring characters and words about the account must still be something. No rule about
    kinds of characters (NIST SP 800-63B-4). Raises BadUserInput.
    """
    password = presented_password(text, field=field)
    if len(password) < shortest:
        raise BadUserInput(f"expected at least {shortest} characters, got {len(password)}", field=field)
    folded = password.casefold()
    if address in folded:
        raise BadUserInput("a password may not contain the e-mail address", field=field)
    if len(set(folded)) < _LEAST_DISTINCT:
        raise BadUserInput("this repeats the same few characters; choose another one", field=field)
    local, _, domain = address.partition("@")
    context = [*_PRODUCT, local, domain, *domain.split("."), *name.casefold().split()]
    if len(_remainder(folded, context)) < _LEAST_REMAINDER:
        raise BadUserInput(
            "this is made of commonly used passwords, repetitions or words about the account; choose another one",
            field=field,
        )
    return password


def _remainder(folded: str, context: Iterable[str]) -> str:
    """What makes a password hard to guess: its distinct part without common words, context words and runs."""
    words = sorted({word for word in (*COMMON, *context) if len(word) >= 3}, key=len, reverse=True)
    shortest = min((_without(form, words) for form in (folded, folded.translate(_LEET))), key=len)
    return _once(shortest)


def _without(text: str, words: list[str]) -> str:
    for word in words:
        text = text.replace(word, "\x00")
    kept = [character for character in text if character.isalnum()]
    return "".join(after for before, after in pairwise(["", *kept]) if not before or abs(ord(after) - ord(before)) > 1)


def _once(text: str) -> str:
    """The shortest block whose repetition is the text."""
    for size in range(1, len(text) // 2 + 1):
        if text == (text[:size] * (len(text) // size + 1))[: len(text)]:
            return text[:size]
    return text


_LEET: Final = str.maketrans({"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s", "!": "i"})
