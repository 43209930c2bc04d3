"""The Tortoise backend for our pool: asyncpg without its reset round trip, with failures in domain terms.

asyncpg asks the server to reset a connection on every release; since every query borrows one, that doubles
the round trips. It is switched off here, so nothing may leave session state on a pool connection: no `SET`
without `LOCAL`, no `LISTEN`, no advisory lock that outlives its transaction. Those belong on a connection of
their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NoReturn, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy
from tortoise.backends.asyncpg.client import AsyncpgDBClient, TransactionWrapper
from tortoise.backends.base.client import (
    NestedTransactionContext,
    TransactionContext,
    TransactionContextPooled,
)
from tortoise.connection import get_connections

from domain.errors import DeadlineExceeded, Overloaded, Unavailable

if TYPE_CHECKING:  # generic in the stubs only
    _ConnectionBase = asyncpg.Connection[asyncpg.Record]
    _PoolBase = asyncpg.Pool[asyncpg.Record]
else:
    _ConnectionBase, _PoolBase = asyncpg.Connection, asyncpg.Pool

_GONE = (
    OSError,  # refused, reset, no such socket
    asyncpg.PostgresConnectionError,  # class 08, and the client's "connection was closed in the middle"
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
)


class PooledConnection(_ConnectionBase):
    """A pool connection that is clean by discipline instead of by a reset query."""

    def get_reset_query(self) -> str:
        """Nothing to reset."""
        return ""

    async def add_listener(self, channel: str, callback: Any) -> NoReturn:  # noqa: ARG002 - asyncpg's signature
        """Refused: a LISTEN would stay on the connection after it is given back."""
        raise RuntimeError(f"LISTEN {channel} needs a connection of its own, not one of the pool")


@contextmanager
def domain_failures() -> Iterator[None]:
    """Raise what went wrong between us and the server as Unavailable, Overloaded or DeadlineExceeded.

    Errors about the statement itself (syntax, constraints, data) pass through unchanged.
    """
    try:
        yield
    except TimeoutError as error:  # before OSError, of which it is a kind
        raise DeadlineExceeded("the database did not answer in time") from error
    except _GONE as error:
        raise Unavailable("the database cannot be reached just now", retry_after=1) from error
    except asyncpg.QueryCanceledError as error:
        raise DeadlineExceeded("the database query took longer than it may") from error
    except (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError) as error:
        raise Unavailable("the change met another one at the same time; try again", retry_after=1) from error
    except asyncpg.OutOfMemoryError as error:
        raise Overloaded("the database is out of memory", retry_after=1) from error
    except asyncpg.DiskFullError as error:
        raise Unavailable("the database's disk is full", retry_after=30) from error
    except asyncpg.InternalClientError as error:
        # The server's last word ("terminating connection") arrived while the connection was idle, and asyncpg
        # waits for an end of that message which never comes. The connection itself is about to report its loss.
        raise Unavailable("the connection to the database was lost", retry_after=1) from error
    except asyncpg.InterfaceError as error:
        if _is_connection_loss(error):
            raise Unavailable("the connection to the database was lost", retry_after=1) from error
        raise


def _is_connection_loss(error: asyncpg.InterfaceError) -> bool:
    """One class of asyncpg stands for misuse and for a connection or pool that closed; only the text differs."""
    text = str(error)
    return "is closed" in text or "is closing" in text or "was closed" in text or "connection has been released" in text


class _Translating:
    """Gives every ORM call of a client the translation above, on top of Tortoise's own."""

    async def _translate_exceptions(
        self, func: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any
    ) -> Any:  # the signature is Tortoise's
        with domain_failures():
            return await super()._translate_exceptions(func, *args, **kwargs)  # type: ignore[misc]  # a mixin


class BoundedPool(_PoolBase):
    """A pool whose callers wait a bounded time for a connection instead of for ever."""

    def __init__(self, dsn: str, *, wait: float, min_size: int, max_size: int, **connect: Any) -> None:
        super().__init__(
            dsn,
            min_size=min_size,
            max_size=max_size,
            max_queries=50_000,
            max_inactive_connection_lifetime=300.0,
            connect=None,
            setup=None,
            init=None,
            reset=None,
            loop=None,
            connection_class=PooledConnection,
            record_class=asyncpg.Record,
            **connect,
        )
        self._wait = wait
        self.waiting = 0

    async def _acquire(self, timeout: float | None) -> Any:  # noqa: ASYNC109 - asyncpg's signature
        self.waiting += 1
        try:
            return await super()._acquire(  # type: ignore[misc]  # the stubs leave it out
                self._wait if timeout is None else timeout
            )
        except TimeoutError as error:
            if self.get_size() >= self.get_max_size() and self.get_idle_size() == 0:
                raise Overloaded("every connection to the database is busy", retry_after=1) from error
            raise Unavailable("the database cannot be reached just now", retry_after=1) from error
        finally:
            self.waiting -= 1


class _TransactionContext(TransactionContextPooled):
    """Tortoise's transaction, giving its connection back also when it cannot be begun."""

    async def __aenter__(self) -> Any:
        wrapper = cast(TransactionWrapper, self.client)
        with domain_failures():
            try:
                return await super().__aenter__()
            except BaseException:
                pool = wrapper._parent._pool  # noqa: SLF001 - Tortoise keeps it private
                borrowed = cast("PoolConnectionProxy[asyncpg.Record] | None", wrapper._connection)  # noqa: SLF001
                if borrowed is not None and pool is not None:
                    get_connections().reset(getattr(self, "token", None))
                    await pool.release(borrowed)
                raise


class TransactionClient(_Translating, TransactionWrapper):
    """The client inside a transaction."""

    def _in_transaction(self) -> TransactionContext:
        return NestedTransactionContext(TransactionClient(self))

    @property
    def finished(self) -> bool:
        """Whether the transaction was committed or rolled back."""
        return self._finalized


class PostgresClient(_Translating, AsyncpgDBClient):
    """The client of the pool. Takes `dsn` (any libpq URL) and `wait` (seconds) besides Tortoise's credentials."""

    def __init__(self, *, dsn: str, wait: float = 10.0, **credentials: Any) -> None:
        super().__init__(**credentials)
        # Kept apart from the parameters that Tortoise writes to its debug log: it holds the password.
        self._dsn = dsn
        self._wait = wait

    async def create_pool(self, **template: Any) -> BoundedPool:
        """Open the pool from the URL; the separate host, user and so on that Tortoise passes are empty."""
        kept = {key: template[key] for key in ("server_settings", "command_timeout", "timeout") if key in template}
        pool = BoundedPool(
            self._dsn, wait=self._wait, min_size=template["min_size"], max_size=template["max_size"], **kept
        )
        await pool
        return pool

    async def _close(self) -> None:
        try:
            await super()._close()
        except (OSError, asyncpg.InterfaceError, asyncpg.PostgresError):
            # The farewell to a connection that the server had ended; asyncpg has then dropped the others too.
            # Passed on, it would leave Tortoise's global context taken and the database could never be opened again.
            self._pool = None

    def _in_transaction(self) -> TransactionContext:
        return _TransactionContext(TransactionClient(self), self._pool_init_lock)

    @property
    def pool(self) -> BoundedPool | None:
        """The open pool."""
        return cast("BoundedPool | None", self._pool)


# What Tortoise looks for in the module that a connection names as its engine.
client_class = PostgresClient
