"""Everything in PostgreSQL that is sealed under the root secret, for sealing it under another one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from domain import ids
from domain.errors import Conflict
from persistence.audit import Change, change
from persistence.database import Database

_AT_ONCE: Final = 1_000
_AGAIN: Final = 0.1
# Connections of other servers, and of this one's former life: whoever has the old root in memory must be gone.
_OTHERS: Final = """
    SELECT count(*) FROM pg_stat_activity
     WHERE datname = current_database() AND pid <> pg_backend_pid()
       AND application_name LIKE ANY ('{axonml%,seals %}')"""
_PIECE: Final = """
    SELECT {key} AS key, {column} AS sealed FROM {table} WHERE $1::{kind} IS NULL OR {key} > $1
     ORDER BY {key} LIMIT $2"""
_WRITE: Final = "UPDATE {table} SET {column} = $2 WHERE {key} = $1"
_SIGNING_KEYS: Final = {"table": "signing_keys", "key": "kid", "kind": "text", "column": "private_encrypted"}
_SESSIONS: Final = {"table": "sessions", "key": "id", "kind": "uuid", "column": "refresh_key"}
_TOTP: Final = {"table": "totp_factors", "key": "user_id", "kind": "uuid", "column": "secret_sealed"}


@dataclass(frozen=True, slots=True)
class Resealing:
    """From a value as it is sealed, and the id of what it belongs to, to the value as it is to be sealed."""

    signing_key: Callable[[bytes, str], bytes]
    refresh_key: Callable[[bytes, str], bytes]
    totp_secret: Callable[[bytes, str], bytes]


class PostgresSecrets:
    """The fingerprint of the root secret, and all that is sealed under it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fingerprint(self) -> str | None:
        """Of the root secret that everything is sealed under."""
        found: str | None = await self._database.fetchval("SELECT root_fingerprint FROM instance WHERE id = 1")
        return found

    async def reseal(self, old: str, new: str, how: Resealing, patience: float) -> None:
        """Seals all of it again and changes the fingerprint, or does nothing.

        Raises Conflict when servers still run after `patience` seconds: connections outlive them for a moment.
        """
        async with change(self._database) as tx:
            # A server that starts now waits here, and then finds that the root is another one.
            present = await tx.fetchval("SELECT root_fingerprint FROM instance WHERE id = 1 FOR UPDATE")
            if present != old:
                raise Conflict("the root secret was changed by somebody else at this moment")
            await _require_alone(tx, patience)
            await _each(tx, _SIGNING_KEYS, str, how.signing_key)
            await _each(tx, _SESSIONS, partial(ids.from_uuid, "ses"), how.refresh_key)
            await _each(tx, _TOTP, partial(ids.from_uuid, "usr"), how.totp_secret)
            await tx.execute("DELETE FROM attempts")  # marks under the old root, which nobody finds again
            await tx.execute("UPDATE instance SET root_fingerprint = $1 WHERE id = 1", new)
            tx.made(None)


async def _require_alone(tx: Change, patience: float) -> None:
    until = time.monotonic() + patience
    while others := await tx.fetchval(_OTHERS):
        if time.monotonic() >= until:
            raise Conflict(f"stop every server of this database first: {others} of their connections are open")
        await asyncio.sleep(_AGAIN)
        await tx.execute("SELECT pg_stat_clear_snapshot()")


async def _each(
    tx: Change, names: dict[str, str], owner: Callable[..., str], again: Callable[[bytes, str], bytes]
) -> None:
    """Row by row, so many at once."""
    last: object = None
    while rows := await tx.fetch(_PIECE.format(**names), last, _AT_ONCE):
        last = rows[-1]["key"]
        sealed = [(row["key"], again(bytes(row["sealed"]), owner(row["key"]))) for row in rows]
        await tx.executemany(_WRITE.format(**names), sealed)
