"""Who may read `/metrics` while the database, which knows the keys, does not answer: whoever just did.

An outage is when the figures are needed. What they show then needs no database, so nothing else is open to these keys.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final

from domain.access import Scope, UserRole
from domain.errors import DeadlineExceeded, Unavailable
from server.edge.identity import Credentials

PATH: Final = "/metrics"
MOST: Final = 16
TRUSTED_SECONDS: Final = 3600.0
ANSWER_SECONDS: Final = 3.0


class Scrapers:
    """The API keys of administrators that were found right at `/metrics` not long ago."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, patience: float = ANSWER_SECONDS) -> None:
        self._clock = clock
        self._patience = patience
        self._seen: dict[bytes, tuple[float, Scope]] = {}

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
            self._seen.pop(mark, None)
            raise
        self._seen.pop(mark, None)
        if found.principal.role is UserRole.ADMIN and found.principal.api_key_id is not None:
            self._seen[mark] = (self._clock(), found)
            if len(self._seen) > MOST:
                del self._seen[next(iter(self._seen))]
        return found

    def _last(self, mark: bytes, problem: Unavailable | DeadlineExceeded) -> Scope:
        at, scope = self._seen.get(mark, (-TRUSTED_SECONDS, None))
        if scope is None or self._clock() - at >= TRUSTED_SECONDS:
            raise problem
        return scope
