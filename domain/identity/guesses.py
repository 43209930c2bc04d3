"""How often somebody may guess at one account, counted in the database for all processes together.

A try is counted before it is made and taken back when it was right, so that many at once are not more than one after
another. Accounts that do not exist are counted like those that do: nothing here may tell them apart.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NoReturn

from domain.errors import Overloaded, RateLimited
from domain.identity import rules
from domain.identity.ports import AttemptRepository, Passwords, Verdict


@dataclass(frozen=True, slots=True)
class GuessRule:
    """`free` tries, and then a wait before each: `first`, twice as long every time, at most `longest`.

    Free tries are forgotten after `window` without another one; once there was a wait, after `memory`.
    """

    free: int
    window: timedelta
    first: timedelta
    longest: timedelta
    memory: timedelta


WRONG_PASSWORDS: Final = GuessRule(
    free=10,
    window=timedelta(minutes=5),
    first=timedelta(seconds=1),
    longest=timedelta(minutes=15),
    memory=timedelta(hours=1),
)
WRONG_FACTORS: Final = GuessRule(
    free=30,
    window=timedelta(hours=1),
    first=timedelta(hours=1),
    longest=timedelta(hours=1),
    memory=timedelta(hours=1),
)


class Guesses:
    """Lets tries through, or says when the next one may be made. `mark` is a keyed hash of what is guessed at."""

    def __init__(
        self,
        *,
        repository: AttemptRepository,
        passwords: Passwords,
        mark: Callable[[str], str],
        now: Callable[[], datetime],
    ) -> None:
        self._repository = repository
        self._passwords = passwords
        self._mark = mark
        self._now = now

    async def check_password(self, address: str, stored: str | None, password: str) -> Verdict:
        """Compares a password with the stored hash of the account of this address, if there is one.

        Exactly one password hash. Raises RateLimited without one, right or wrong; Overloaded.
        """
        key = self._mark(f"password:{rules.email_to_look_up(address) or address.casefold()}")
        await self._count(key, WRONG_PASSWORDS, "wrong passwords for this account")
        try:
            verdict = await self._passwords.verify(stored, password)
        except Overloaded:
            await self._repository.take_back(key, WRONG_PASSWORDS)
            raise
        if verdict is not Verdict.WRONG:
            await self._repository.forget(key)
        return verdict

    async def count_factor(self, user_id: str) -> None:
        """Counts a try at a second factor that is about to be made. Raises RateLimited."""
        await self._count(self._mark(f"factor:{user_id}"), WRONG_FACTORS, "wrong codes for this account")

    async def take_back_factor(self, user_id: str) -> None:
        """To be called when that try was right, or was not made. Earlier ones stay counted."""
        await self._repository.take_back(self._mark(f"factor:{user_id}"), WRONG_FACTORS)

    async def blocked(self, addresses: Sequence[str]) -> dict[str, datetime]:
        """Until when no password is looked at, by address; of those for which that is so."""
        keys = {self._mark(f"password:{address}"): address for address in addresses}
        found = await self._repository.blocked(list(keys), self._now()) if keys else {}
        return {keys[key]: until for key, until in found.items()}

    async def forget(self, address: str, user_id: str) -> None:
        """All wrong passwords and codes for an account."""
        for key in (f"password:{address}", f"factor:{user_id}"):
            await self._repository.forget(self._mark(key))

    async def _count(self, key: str, rule: GuessRule, what: str) -> None:
        now = self._now()
        blocked_until = await self._repository.count(key, rule, now)
        if blocked_until is not None:
            _refuse(what, (blocked_until - now).total_seconds())


def _refuse(what: str, wait: float) -> NoReturn:
    seconds = max(1, math.ceil(wait))
    raise RateLimited(f"too many {what}; try again in {seconds} s", retry_after=seconds)
