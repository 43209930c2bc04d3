"""The signing keys that all servers of one database share, and the fingerprint of the root secret that seals them."""

from __future__ import annotations

from datetime import datetime

from domain.identity.ports import SigningKey
from persistence.audit import change
from persistence.database import Database


class PostgresSigningKeys:
    """Implements `SigningKeyStore`. Private halves arrive and stay sealed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim_root(self, fingerprint: str) -> str:
        stored: str = await self._database.fetchval(
            "INSERT INTO instance (id, root_fingerprint) VALUES (1, $1) ON CONFLICT (id) DO UPDATE"
            " SET root_fingerprint = coalesce(instance.root_fingerprint, EXCLUDED.root_fingerprint)"
            " RETURNING root_fingerprint",
            fingerprint,
        )
        return stored

    async def rotate(self, following: SigningKey, *, forget: datetime) -> None:
        """Retires every key but a new one, and forgets those that were retired before a time."""
        async with change(self._database) as tx:
            await tx.execute("SELECT 1 FROM instance WHERE id = 1 FOR UPDATE")
            now = following.not_before
            await tx.execute("UPDATE signing_keys SET retired_at = $1 WHERE retired_at IS NULL", now)
            await tx.execute("DELETE FROM signing_keys WHERE retired_at < $1", forget)
            await tx.execute(
                "INSERT INTO signing_keys (kid, private_encrypted, public_raw, not_before) VALUES ($1, $2, $3, $4)",
                following.kid,
                following.private_sealed,
                following.public,
                now,
            )
            tx.made(following.kid)

    async def signing_keys(self, candidate: SigningKey | None = None) -> list[SigningKey]:
        async with self._database.transaction() as tx:
            if candidate is not None:
                await tx.execute("SELECT 1 FROM instance WHERE id = 1 FOR UPDATE")
                await tx.execute(
                    "INSERT INTO signing_keys (kid, private_encrypted, public_raw, not_before)"
                    " SELECT $1, $2, $3, $4 WHERE NOT EXISTS (SELECT 1 FROM signing_keys WHERE retired_at IS NULL)",
                    candidate.kid,
                    candidate.private_sealed,
                    candidate.public,
                    candidate.not_before,
                )
            rows = await tx.fetch(
                "SELECT kid, private_encrypted, public_raw, not_before, retired_at FROM signing_keys"
                " ORDER BY not_before"
            )
        return [
            SigningKey(
                row["kid"],
                bytes(row["private_encrypted"]),
                bytes(row["public_raw"]),
                row["not_before"],
                row["retired_at"],
            )
            for row in rows
        ]
