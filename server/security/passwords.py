"""Argon2id in bounded room.

One hash takes 64 MiB and tens of milliseconds on purpose, so a flood of logins must neither take the machine's
memory nor make the event loop wait: hashes run on a few threads of their own, and past a short queue callers are
told to come back.
"""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from threading import BoundedSemaphore
from typing import Final, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from domain.errors import Overloaded
from domain.identity.ports import Verdict
from server.security.guessing import guesses

T = TypeVar("T")

QUEUE: Final = 32


class Argon2Passwords:
    """Hashes with the parameters of `hasher`: by default those of argon2-cffi (RFC 9106, low memory).

    At most `threads` hashes run at once and `queue` more wait.
    """

    def __init__(self, hasher: PasswordHasher | None = None, *, threads: int | None = None, queue: int = QUEUE) -> None:
        self._hasher = hasher or PasswordHasher()
        workers = threads or min(4, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="password")
        self._room = BoundedSemaphore(workers + queue)
        self._nobody = _hash_of_nothing(self._hasher)

    async def hash(self, password: str) -> str:
        return await self._run(partial(self._hasher.hash, password))

    async def verify(self, stored: str | None, password: str) -> Verdict:
        return await self._run(partial(self._verify, stored, password))

    async def guesses(self, password: str, words: Sequence[str]) -> float:
        return await self._run(partial(guesses, password, words))

    def close(self) -> None:
        """Waits for the hashes under way; those that wait are cancelled."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _verify(self, stored: str | None, password: str) -> Verdict:
        try:
            self._hasher.verify(self._nobody if stored is None else stored, password)
        except VerifyMismatchError:
            return Verdict.WRONG
        if stored is None:
            return Verdict.WRONG
        return Verdict.OUTDATED if self._hasher.check_needs_rehash(stored) else Verdict.RIGHT

    async def _run(self, work: partial[T]) -> T:
        if not self._room.acquire(blocking=False):
            raise Overloaded("too many sign-ins at once; try again in a moment", retry_after=1)
        try:
            running = self._pool.submit(work)
        except BaseException:
            self._room.release()
            raise
        # The room is given back when the thread is done, not when the caller gives up waiting.
        running.add_done_callback(self._leave)
        return await asyncio.wrap_future(running)

    def _leave(self, _: Future[T]) -> None:
        self._room.release()


def _hash_of_nothing(hasher: PasswordHasher) -> str:
    """An encoded hash with the parameters of `hasher` that no password has: checking against it costs the same."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (hasher.salt_len, hasher.hash_len)
    )
    costs = f"m={hasher.memory_cost},t={hasher.time_cost},p={hasher.parallelism}"
    return f"$argon2id$v=19${costs}${salt}${digest}"
