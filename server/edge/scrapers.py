"""Who may read `/metrics` while the database, which knows the keys, does not answer: whoever just did.

An outage is when the figures are needed. What they show then needs no database, so nothing else is open to these keys.
While the database answers, it is asked twice a second whether a remembered key still holds, as it is for open sockets:
one that was revoked before the outage is forgotten by then.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial
from hashlib import sha256
from typing import Final

from domain.access import Scope, UserRole
from domain.errors import DeadlineExceeded, Unavailable
from server.edge.connections import LiveConnections
from server.edge.identity import Credentials

PATH: Final = "/metrics"
MOST: Final = 16
TRUSTED_SECONDS: Final = 900.0
ANSWER_SECONDS: Final = 3.0


class _Trusted:
    """A key that was right at a moment. Implements `Held`."""

    def __init__(self, scope: Scope, until: float, clock: Callable[[], float], forget: Callable[[], None]) -> None:
        self._scope = scope
        self._until = until
        self._clock = clock
        self._forget = forget

    @property
    def scope(self) -> Scope | None:
        """Whose key it is, for as long as it is trusted without being asked about."""
        return self._scope if self._clock() < self._until else None

    async def close(self, _code: int, _reason: str) -> None:
        """The key was revoked, or what its owner may do has changed."""
        self._forget()


class Scrapers:
    """The API keys of administrators that were found right at `/metrics` not long ago, and hold."""

    def __init__(
        self,
        connections: LiveConnections,
        *,
        clock: Callable[[], float] = time.monotonic,
        patience: float = ANSWER_SECONDS,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._patience = patience
        self._seen: dict[bytes, _Trusted] = {}

    async def resolve(self, credentials: Credentials, asking: Awaitable[Scope]) -> Scope:
        """What `asking` finds; what it found last when it gets no answer. Raises what it raises."""
        mark = sha256((credentials.authorization or "").encode()).digest()
        try:
            async with asyncio.timeout(self._patience):
                found = await asking
        except TimeoutError:
            return self._last(mark, DeadlineExceeded("the database did not answer in time"))
        except (Unavailable, DeadlineExceeded) as problem:
            return self._last(mark, problem)
        except BaseException:
            self._forget(mark)
            raise
        self._forget(mark)
        if found.principal.role is UserRole.ADMIN and found.principal.api_key_id is not None:
            seen = _Trusted(found, self._clock() + TRUSTED_SECONDS, self._clock, partial(self._forget, mark))
            self._seen[mark] = seen
            self._connections.remember(seen)
            if len(self._seen) > MOST:
                self._forget(next(iter(self._seen)))
        return found

    def _last(self, mark: bytes, problem: Unavailable | DeadlineExceeded) -> Scope:
        seen = self._seen.get(mark)
        scope = None if seen is None else seen.scope
        if scope is None:
            raise problem
        return scope

    def _forget(self, mark: bytes) -> None:
        seen = self._seen.pop(mark, None)
        if seen is not None:
            self._connections.forget(seen)
