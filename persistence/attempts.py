"""Tries at accounts, counted in PostgreSQL: one row for whatever is guessed at, one statement for each try."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from domain.identity.guesses import GuessRule
from persistence.database import Database

KEPT: Final = timedelta(days=1)
_TIDY_AT_ONCE: Final = 100

# $3 free tries, $4 window, $5 memory, $6 the first wait, $7 the longest. What the insert finds is the row as it is, for
# the conflict locks it.
_COUNT: Final = """
    INSERT INTO attempts AS a (key, failures, last_at) VALUES ($1, 1, $2)
    ON CONFLICT (key) DO UPDATE SET last_at = $2,
        failures = CASE WHEN a.last_at + CASE WHEN a.failures < $3 THEN $4::interval ELSE $5::interval END <= $2
                        THEN 1 ELSE a.failures + 1 END,
        blocked_until = CASE WHEN a.last_at + CASE WHEN a.failures < $3 THEN $4::interval ELSE $5::interval END <= $2
                               OR a.failures + 1 < $3 THEN NULL
                        ELSE $2 + least($6::interval * power(2, least(a.failures + 1 - $3, 20)), $7::interval) END
     WHERE a.blocked_until IS NULL OR a.blocked_until <= $2
    RETURNING failures"""
_TAKE_BACK: Final = """
    UPDATE attempts SET failures = failures - 1,
           blocked_until = CASE WHEN failures - 1 < $2 THEN NULL ELSE blocked_until END
     WHERE key = $1 AND failures > 0"""
_TIDY: Final = """
    DELETE FROM attempts WHERE key IN (
        SELECT key FROM attempts WHERE last_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)"""


class PostgresAttempts:
    """Implements `AttemptRepository`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, key: str, rule: GuessRule, now: datetime) -> datetime | None:
        tries = await self._database.fetchval(
            _COUNT, key, now, rule.free, rule.window, rule.memory, rule.first, rule.longest
        )
        if tries is None:
            blocked: datetime | None = await self._database.fetchval(
                "SELECT blocked_until FROM attempts WHERE key = $1", key
            )
            return now if blocked is None else blocked
        if tries == 1:  # perhaps a new row: then some old ones go
            await self._database.execute(_TIDY, now - KEPT, _TIDY_AT_ONCE)
        return None

    async def take_back(self, key: str, rule: GuessRule) -> None:
        await self._database.execute(_TAKE_BACK, key, rule.free)

    async def forget(self, key: str) -> None:
        await self._database.execute("DELETE FROM attempts WHERE key = $1", key)

    async def blocked(self, keys: Sequence[str], now: datetime) -> dict[str, datetime]:
        rows = await self._database.fetch(
            "SELECT key, blocked_until FROM attempts WHERE key = ANY($1::text[]) AND blocked_until > $2", keys, now
        )
        return {row["key"]: row["blocked_until"] for row in rows}
