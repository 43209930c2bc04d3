"""Choosing a password: its form, and then how easily it is guessed."""

from __future__ import annotations

from domain.identity import rules
from domain.identity.ports import Passwords


async def chosen_password(
    passwords: Passwords, text: str, *, shortest: int, address: str, name: str, field: str = "password"
) -> str:
    """A password that somebody wants to have, checked and in the form that is hashed.

    `shortest` characters or more. Raises BadUserInput naming `field`, Overloaded.
    """
    password = rules.chosen_password(text, shortest=shortest, address=address, field=field)
    guesses = await passwords.guesses(password, rules.words_about(address, name))
    rules.require_unguessable(guesses, shortest=shortest, field=field)
    return password
