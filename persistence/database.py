"""The door to PostgreSQL: one pool per process, Tortoise on top of it, and raw SQL beside it.

Repositories are given a `Database` and use nothing else. Inside `transaction()` no task may be created, no
dataloader called and nothing published: the connection belongs to one flow of control until the commit.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

import asyncpg
from asyncpg import Record
from tortoise.context import TortoiseContext
from tortoise.exceptions import ConfigurationError, DBConnectionError

from domain.errors import DomainError
from domain.figures import PoolFigures
from persistence.client import PostgresClient, TransactionClient, domain_failures
from persistence.tables import MODULES

APP = "axonml"
_CONNECTION = "default"
_OLDEST, _NEWEST = 150_000, 190_000
OFFLINE_DSN = "postgresql://localhost/axonml"


class DatabaseUnusable(Exception):  # noqa: N818 - reads as a condition
    """The configured database cannot be used; read by the person who starts the server, so it says why."""


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How the pool behaves. Times are in seconds."""

    min_size: int = 0
    max_size: int = 10
    wait: float = 10.0
    statement_timeout: float = 30.0
    lock_timeout: float = 10.0
    idle_in_transaction_timeout: float = 60.0
    name: str = "axonml"
    """What the database calls these connections."""


def _milliseconds(seconds: float) -> str:
    return str(round(seconds * 1000))


def tortoise_config(dsn: str, pool: PoolSettings | None = None) -> dict[str, Any]:
    """What Tortoise needs to know: one connection, and one app with our tables."""
    pool = pool or PoolSettings()
    credentials = {
        "dsn": dsn,
        "wait": pool.wait,
        "minsize": pool.min_size,
        "maxsize": pool.max_size,
        # The server's own limit comes first; the client's catches a server that stopped answering.
        "command_timeout": pool.statement_timeout + 5,
        "timeout": pool.wait,
        "server_settings": {
            "application_name": pool.name,
            "statement_timeout": _milliseconds(pool.statement_timeout),
            "lock_timeout": _milliseconds(pool.lock_timeout),
            "idle_in_transaction_session_timeout": _milliseconds(pool.idle_in_transaction_timeout),
            "timezone": "UTC",
            "jit": "off",
        },
    }
    return {
        "connections": {_CONNECTION: {"engine": "persistence.client", "credentials": credentials}},
        "apps": {APP: {"models": list(MODULES), "default_connection": _CONNECTION}},
        "use_tz": True,
        "timezone": "UTC",
    }


def _aerich_config() -> dict[str, Any]:
    config = tortoise_config(OFFLINE_DSN)
    config["apps"][APP]["models"].append("aerich.models")
    return config


# For the `aerich` command and the offline generator, which read the tables and connect to nothing.
TORTOISE_ORM = _aerich_config()


class Connection:
    """Raw SQL on the pool, or on the connection of a transaction. Parameters are `$1`, `$2`, ...

    Errors of the statement itself pass through as asyncpg's (`UniqueViolationError.constraint_name` names the
    constraint). A lost server is Unavailable, a full pool Overloaded, a statement over its limit
    DeadlineExceeded.
    """

    def __init__(self, client: PostgresClient | TransactionClient) -> None:
        self._fixed_client = client

    @property
    def client(self) -> PostgresClient | TransactionClient:
        """Tortoise's client, for `using_db=`."""
        return self._fixed_client

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[asyncpg.Connection[Record]]:
        """The asyncpg connection itself, for cursors and prepared statements; leave no session state on it."""
        borrowing = self.client.acquire_connection()
        with domain_failures():
            connection = await borrowing.__aenter__()
        try:
            yield cast("asyncpg.Connection[Record]", connection)
        finally:
            await borrowing.__aexit__(None, None, None)

    async def fetch(self, sql: str, *arguments: object) -> list[Record]:
        """All rows of a statement (`RETURNING` included)."""
        async with self.raw() as connection:
            with domain_failures():
                return await connection.fetch(sql, *arguments)

    async def fetch_planned(self, sql: str, *arguments: object) -> list[Record]:
        """All rows of a statement that PostgreSQL plans for these very arguments; one round trip more than `fetch`.

        For searches: what finds one in four rows and what finds one in a million need different plans, and a plan for
        any arguments, to which PostgreSQL changes over after five runs of a statement it keeps, is bad for most.
        """
        async with self.raw() as connection:
            with domain_failures():
                statement = await connection.prepare(sql, name="")  # nameless: kept for this one run
                return await statement.fetch(*arguments)

    async def fetchrow(self, sql: str, *arguments: object) -> Record | None:
        """The first row, or None."""
        async with self.raw() as connection:
            with domain_failures():
                return await connection.fetchrow(sql, *arguments)

    async def fetchval(self, sql: str, *arguments: object) -> Any:
        """The first column of the first row, or None."""
        async with self.raw() as connection:
            with domain_failures():
                return await connection.fetchval(sql, *arguments)

    async def execute(self, sql: str, *arguments: object) -> int:
        """Run a statement; the number of rows it touched (0 where PostgreSQL reports none)."""
        async with self.raw() as connection:
            with domain_failures():
                status = await connection.execute(sql, *arguments)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def executemany(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once per row, all or none of them."""
        async with self.raw() as connection:
            with domain_failures():
                await connection.executemany(sql, rows)

    async def copy(self, table: str, columns: Sequence[str], records: Iterable[Sequence[object]]) -> int:
        """Load records by COPY, all or none of them; the number of rows."""
        async with self.raw() as connection:
            with domain_failures():
                status = await connection.copy_records_to_table(table, columns=list(columns), records=records)
        return int(status.rpartition(" ")[2])


class Database(Connection):
    """The process's pool. Open it once with `async with Database(dsn)`, or `open` and `close`.

    Statements issued through this object, or through a row model, inside `transaction()` belong to that
    transaction. Only one may be open per process, because Tortoise's models find it globally.
    """

    def __init__(self, dsn: str, pool: PoolSettings | None = None) -> None:
        self._config = tortoise_config(dsn, pool)
        self._context: TortoiseContext | None = None

    @property
    def client(self) -> PostgresClient | TransactionClient:
        """The client of the transaction this flow of control is in, else that of the pool."""
        if self._context is None:
            raise RuntimeError("the database is not open")
        client = cast("PostgresClient | TransactionClient", self._context.connections.get(_CONNECTION))
        if isinstance(client, TransactionClient) and client.finished:
            raise RuntimeError("a task created inside a transaction outlived it; create tasks after the commit")
        return client

    async def open(self) -> None:
        """Connect and check the release. Raises DatabaseUnusable with the reason."""
        if self._context is not None:
            raise RuntimeError("the database is open already")
        context = TortoiseContext()
        try:
            with context:  # while the models are prepared they must find this very context
                await context.init(config=self._config, _enable_global_fallback=True)
        except ConfigurationError as error:
            raise RuntimeError(f"Tortoise refuses its configuration: {error}") from error
        self._context = context
        try:
            await self._check()
        except BaseException:
            await self.close()
            raise

    async def _check(self) -> None:
        try:
            await self.client.create_connection(with_db=True)
            check_version(await self.fetchval("SHOW server_version_num"))
        except DomainError as error:
            raise DatabaseUnusable(f"the database does not answer: {error.__cause__ or error}") from error
        except UNUSABLE as error:
            raise unusable(error) from error

    async def close(self) -> None:
        """Close the pool; statements still running get up to 10 seconds."""
        context, self._context = self._context, None
        if context is not None:
            await context.close_connections()

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def figures(self) -> PoolFigures:
        """The pool as it is now; to be asked outside transactions."""
        pool = None if self._context is None else getattr(self.client, "pool", None)
        if pool is None:
            return PoolFigures(0, 0, 0, 0)
        return PoolFigures(pool.get_size(), pool.get_idle_size(), pool.get_max_size(), pool.waiting)

    async def ping(self) -> None:
        """One round trip. Raises Unavailable, Overloaded or DeadlineExceeded."""
        await self.fetchval("SELECT 1")

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction (inside another one, a savepoint), committed at the end and rolled back on an error.

        The commit may raise Unavailable: then it is not known whether it took place.
        """
        context = self.client._in_transaction()  # noqa: SLF001 - Tortoise's in_transaction() asks the global context
        with domain_failures():
            client = await context.__aenter__()
        try:
            yield Connection(cast(TransactionClient, client))
        except BaseException as error:
            with suppress(*_LOST):  # the first error is the cause
                await context.__aexit__(type(error), error, error.__traceback__)
            raise
        else:
            with domain_failures():
                await context.__aexit__(None, None, None)


# What a rollback may raise on a connection that is gone already.
_LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, asyncpg.PostgresError, OSError, DomainError)
UNUSABLE = (OSError, ValueError, DBConnectionError, asyncpg.PostgresError, asyncpg.InterfaceError)


def unusable(error: Exception) -> DatabaseUnusable:
    """Why a first connection failed, in words that never repeat the URL (it holds the password)."""
    cause = error.__cause__ if isinstance(error, DBConnectionError) else error
    match cause:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            reason = "the database refuses the user or password of the database URL"
        case asyncpg.InvalidCatalogNameError():
            reason = f"{cause}; create it, or correct the database URL"
        case OSError() | asyncpg.PostgresError():
            reason = f"the database cannot be reached: {str(cause) or type(cause).__name__}"
        case _:
            reason = "the database URL is not a valid PostgreSQL URL (postgresql://user:password@host:5432/name)"
    return DatabaseUnusable(reason)


def check_version(version_number: str) -> None:
    """Refuse a release other than 15 to 18. Raises DatabaseUnusable."""
    if not _OLDEST <= int(version_number) < _NEWEST:
        raise DatabaseUnusable(
            f"the database runs PostgreSQL {int(version_number) // 10_000}; AxonML works with 15, 16, 17 and 18"
        )
