"""What tests of identity share: an instance with its own data directory, and a cheap password hasher that counts."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import argon2

from domain import ids
from domain.access import Scope
from domain.identity import AuthResult, ClientInfo, Identity
from domain.identity.passkey_ports import RelyingParty
from domain.identity.ports import OpenConnections
from persistence.database import Database
from server.security.opening import identity_opened
from server.settings import AuthSettings
from tests.support.tracking import SetClock

EMAIL = "ada@example.org"
PASSWORD = "nine lanterns under quiet water"
RELYING_PARTY = RelyingParty("localhost", ("http://localhost:3000", "https://axon.localhost"))
CHEAP = {"time_cost": 1, "memory_cost": 8, "parallelism": 1}


class CountingHasher(argon2.PasswordHasher):
    """Argon2 at its cheapest, counting every hash that is computed."""

    def __init__(self, **costs: Any) -> None:
        super().__init__(**{**CHEAP, **costs})
        self.computed = 0

    def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
        self.computed += 1
        return super().hash(password, salt=salt)

    def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override] # noqa: A002
        self.computed += 1
        return super().verify(hash, password)


class Closings:
    """Remembers which connections were told to end."""

    def __init__(self) -> None:
        self.sessions: list[str] = []
        self.keys: list[str] = []

    async def end_session(self, session_id: str) -> None:
        self.sessions.append(session_id)

    async def end_api_key(self, api_key_id: str) -> None:
        self.keys.append(api_key_id)


@dataclass
class Instance:
    """One server's identity on a database."""

    identity: Identity
    database: Database
    data_dir: Path
    clock: SetClock
    hasher: CountingHasher
    closings: Closings = field(default_factory=Closings)

    async def set_up(self, email: str = EMAIL, password: str = PASSWORD) -> AuthResult:
        """The first administrator, signed in."""
        token = await self.identity.founder.ensure()
        assert token is not None
        return await self.identity.founder.found(token=token, email=email, password=password, name="Ada")

    async def scope(self, result: AuthResult) -> Scope:
        """As the caller of these tokens."""
        return await self.identity.authenticate(authorization=f"Bearer {result.tokens.access}")

    async def login(self) -> AuthResult:
        return await self.identity.sign_in.by_password(
            email=EMAIL, password=PASSWORD, client=ClientInfo("127.0.0.1", "test")
        )


@asynccontextmanager
async def instance(
    database: Database,
    data_dir: Path,
    *,
    settings: AuthSettings | None = None,
    relying_party: RelyingParty | None = RELYING_PARTY,
    clock: SetClock | None = None,
    hasher: CountingHasher | None = None,
    connections: OpenConnections | None = None,
) -> AsyncIterator[Instance]:
    """An instance on `database`; several may share it, as the processes of several hosts do."""
    clock, hasher, closings = clock or SetClock(), hasher or CountingHasher(), Closings()
    told = closings if connections is None else connections
    async with identity_opened(
        database,
        settings or AuthSettings(),
        data_dir,
        clock,
        relying_party=relying_party,
        connections=told,
        hasher=hasher,
    ) as identity:
        yield Instance(identity, database, data_dir, clock, hasher, closings)


def outcomes(results: list[Any]) -> tuple[list[Any], list[BaseException]]:
    """What `gather` answered: results, and failures."""
    failed = [one for one in results if isinstance(one, BaseException)]
    return [one for one in results if not isinstance(one, BaseException)], failed


async def member(ready: Instance, email: str, slug: str = "default", role: str = "user") -> str:
    """A user with the administrator's password, a member of a workspace that is made when missing."""
    database = ready.database
    workspace = await database.fetchval(
        "INSERT INTO workspaces (id, slug, name, created_at) VALUES ($1, $2, $2, $3)"
        " ON CONFLICT (slug) DO UPDATE SET name = EXCLUDED.name RETURNING id",
        ids.to_uuid(ids.new("wsp")),
        slug,
        ready.clock.now(),
    )
    user_id = ids.new("usr")
    await database.execute(
        "INSERT INTO users (id, email, name, password_hash, role, default_workspace_id, created_at)"
        " SELECT $1, $2, $2, password_hash, $4, $5, $6 FROM users WHERE email = $3",
        ids.to_uuid(user_id),
        email,
        EMAIL,
        role,
        workspace,
        ready.clock.now(),
    )
    await database.execute(
        "INSERT INTO memberships (workspace_id, user_id, role) VALUES ($1, $2, 'editor')",
        workspace,
        ids.to_uuid(user_id),
    )
    return user_id


async def signed_in(ready: Instance, email: str, role: str, slug: str = "default") -> Scope:
    """Somebody new with a role in a workspace that is made when missing, signed in there."""
    user_id = await member(ready, email, slug)
    await ready.database.execute("UPDATE memberships SET role = $2 WHERE user_id = $1", ids.to_uuid(user_id), role)
    return await ready.scope(await ready.identity.sign_in.by_password(email=email, password=PASSWORD))
