"""Whether every file is still what was uploaded: each is read again and its digest compared with its name.

It works beside a running server and changes nothing. What is uploaded meanwhile may be missed; what is deleted
meanwhile is not told as missing.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Final, Protocol

from domain.errors import NotFound

AT_ONCE: Final = 10_000
MOST_NAMED: Final = 5


class Fault(Enum):
    """What is wrong with a file."""

    MISSING = "missing"
    DAMAGED = "damaged"


@dataclass(frozen=True, slots=True)
class Finding:
    """A file that is not what versions need. `needed_by` names some of those."""

    sha256: str
    fault: Fault
    detail: str
    needed_by: list[str]


@dataclass(slots=True)
class ScrubReport:
    """What a pass found. `unreferenced` files belong to no version; a running server removes them after a while."""

    files: int = 0
    bytes: int = 0
    unreferenced: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether every version has its bytes."""
        return not self.findings


class StoredFiles(Protocol):
    """The part of a `BlobStore` that is read here."""

    async def expired(self, grace: timedelta) -> list[str]:
        """With no grace: the digests of all files."""
        ...

    def read(self, sha256: str) -> AsyncGenerator[bytes, None]:
        """The bytes of a file, piece by piece. Raises NotFound before the first one when it is not there."""
        ...


class References(Protocol):
    """Which files versions need, of all workspaces: this is the server's own look, never a caller's."""

    async def referenced(self, after: str, most: int) -> Sequence[tuple[str, int]]:
        """The next digests after one, each once and in order, and their sizes in bytes."""
        ...

    async def holders(self, sha256: str, most: int) -> list[str]:
        """Versions that need a file, for people to read."""
        ...


class Pace:
    """Lets so many bytes pass in a second; None lets all."""

    def __init__(
        self,
        bytes_per_second: float | None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._sleep = sleep
        self._due = clock()

    async def passed(self, count: int) -> None:
        """Waits until `count` more bytes are due. Time that nobody used is not made up for."""
        if self._rate is None:
            return
        now = self._clock()
        self._due = max(self._due, now) + count / self._rate
        await self._sleep(self._due - now)


async def scrub(
    files: StoredFiles, references: References, pace: Pace, found: Callable[[Finding], None] = lambda _: None
) -> ScrubReport:
    """Reads every file that a version needs. `found` hears of each finding at once."""
    report = ScrubReport()
    stored = set(await files.expired(timedelta(0)))
    after = ""
    while piece := await references.referenced(after, AT_ONCE):
        for sha256, size in piece:
            stored.discard(sha256)
            finding = await _checked(files, references, pace, report, (sha256, size))
            if finding is not None:
                report.findings.append(finding)
                found(finding)
        after = piece[-1][0]
    report.unreferenced = sorted([sha256 for sha256 in stored if not await references.holders(sha256, 1)])
    return report


async def _checked(
    files: StoredFiles, references: References, pace: Pace, report: ScrubReport, wanted: tuple[str, int]
) -> Finding | None:
    sha256, size = wanted
    digest, count = hashlib.sha256(), 0
    fault, detail = Fault.DAMAGED, ""
    try:
        async with aclosing(files.read(sha256)) as pieces:
            async for piece in pieces:
                await asyncio.to_thread(digest.update, piece)
                count += len(piece)
                await pace.passed(len(piece))
        report.files += 1
        if count != size:
            detail = f"{count} bytes instead of {size}"
        elif digest.hexdigest() != sha256:
            detail = f"its {count} bytes have the digest {digest.hexdigest()}"
        else:
            return None
    except NotFound:
        fault, detail = Fault.MISSING, f"{size} bytes are not there"
    except OSError as problem:
        detail = f"it cannot be read: {problem.strerror}"
    finally:
        report.bytes += count
    needed_by = await references.holders(sha256, MOST_NAMED)
    return Finding(sha256, fault, detail, needed_by) if needed_by else None
