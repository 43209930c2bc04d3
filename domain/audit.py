"""The audit log: what somebody did or tried, written with what they changed, chained by hash afterwards.

An edge says what is under way (`during`), a repository says in its own transaction what it changed, and the row is
part of that transaction. What was refused changed nothing: its row is written by itself, and never fails a request.
Rows hold ids, never addresses of accounts, names, texts or secrets.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final, Protocol

from domain import ids
from domain.access import Scope
from domain.errors import BadUserInput, DomainError, Forbidden, MfaRequired, RateLimited, Unauthenticated
from domain.paging import Keyset, Page, PageRequest

# What a script does all the time. Nothing of it is in the log, not even that it was refused.
DATA_PLANE: Final = frozenset(
    {"metricsLog", "logsAppend", "logAppend", "paramsLog", "tagsSet", "tagsDelete", "predict"}
)
# What leads up to something that is in the log, or repeats it. A stolen refresh token is in the log all the same.
PASSING: Final = frozenset({"authRefresh", "webauthnRegisterStart", "webauthnAuthenticateStart"})
EXEMPT: Final = DATA_PLANE | PASSING

GENESIS: Final = bytes(32)
"""What stands for the hash before the first row's."""

EXPORTED_AT_ONCE: Final = 1_000
_SEALED_AT_ONCE: Final = 500
_SEAL_SECONDS: Final = 0.5
_ACTION: Final = re.compile(r"[A-Za-z]{1,64}", re.ASCII)


class Outcome(Enum):
    """How it ended."""

    OK = "ok"
    MFA_REQUIRED = "mfa_required"
    FAILED = "failed"
    REUSED = "reused"
    LIMITED = "limited"
    DENIED = "denied"


# --- what is under way -----------------------------------------------------------------------------------


@dataclass(slots=True)
class Event:
    """What is under way, as the edge knows it.

    `account_id` is learnt later: whose account it is that somebody signs in to, or tries to. `told`: its row is
    committed.
    """

    action: str
    request_id: str
    address: str | None = None
    actor_id: str | None = None
    session_id: str | None = None
    api_key_id: str | None = None
    workspace_id: str | None = None
    account_id: str | None = None
    refusal: Outcome | None = None
    told: bool = False

    @classmethod
    def of(cls, action: str, request_id: str, address: str | None, scope: Scope | None) -> Event:
        """An operation that somebody asked for; None: somebody anonymous."""
        if scope is None:
            return cls(action, request_id, address)
        caller = scope.principal
        place = None if scope.nowhere else scope.workspace_id
        return cls(action, request_id, address, caller.user_id, caller.session_id, caller.api_key_id, place)


class Refusals(Protocol):
    """Takes note of what was refused."""

    async def refused(self, event: Event, outcome: Outcome) -> None:
        """Never raises."""
        ...


_UNDER_WAY: Final[ContextVar[Event | None]] = ContextVar("axonml_audit_event", default=None)


def under_way() -> Event | None:
    """What this flow of control is doing for somebody; None in the background."""
    return _UNDER_WAY.get()


def concerning(user_id: str) -> None:
    """Notes whose account it is that somebody signs in to, or tries to."""
    event = _UNDER_WAY.get()
    if event is not None:
        event.account_id = user_id


def reused(session_id: str) -> None:
    """Notes that an old refresh token of this session came back."""
    event = _UNDER_WAY.get()
    if event is not None:
        event.refusal, event.session_id = Outcome.REUSED, session_id


@contextmanager
def besides(action: str, *, actor_id: str, session_id: str) -> Iterator[None]:
    """What the block changes has a row of its own, as this action of this actor, beside that of what is under way."""
    event = _UNDER_WAY.get()
    token = _UNDER_WAY.set(event and Event(action, event.request_id, event.address, actor_id, session_id))
    try:
        yield
    finally:
        _UNDER_WAY.reset(token)


@asynccontextmanager
async def during(log: Refusals, event: Event) -> AsyncIterator[None]:
    """Whatever the block does is this event."""
    token = _UNDER_WAY.set(event)
    try:
        yield
    except DomainError as problem:
        event.refusal = event.refusal or _judged(event.action, problem)
        raise
    finally:
        _UNDER_WAY.reset(token)
        if event.refusal is not None and not event.told:
            await log.refused(event, event.refusal)


def _judged(action: str, problem: DomainError) -> Outcome | None:
    if action in DATA_PLANE:
        return None
    match problem:
        case Forbidden() | MfaRequired():
            return Outcome.DENIED
        case Unauthenticated() if action not in PASSING:
            return Outcome.FAILED
        case RateLimited() if action not in PASSING:
            return Outcome.LIMITED
    return None


# --- rows ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One row. `others` are further objects of a change of several; `seq` and `hash` its place in the chain."""

    id: str
    seq: int
    at: datetime
    action: str
    outcome: str
    actor_id: str | None
    session_id: str | None
    api_key_id: str | None
    workspace_id: str | None
    resource: str | None
    others: Sequence[str]
    address: str | None
    request_id: str
    hash: bytes = b""

    def facts(self) -> dict[str, object]:
        """All but the hash, in the form that is hashed and exported."""
        return {
            "seq": self.seq,
            "id": self.id,
            "at": self.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "action": self.action,
            "outcome": self.outcome,
            "actor_id": self.actor_id,
            "session_id": self.session_id,
            "api_key_id": self.api_key_id,
            "workspace_id": self.workspace_id,
            "resource": self.resource,
            "others": list(self.others),
            "address": self.address,
            "request_id": self.request_id,
        }

    def follows(self, previous: bytes) -> bytes:
        """The hash it has after a row with that hash: SHA-256 of both, the facts as JSON with sorted keys."""
        text = json.dumps(self.facts(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(previous + text.encode()).digest()


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows; None is any. `since` counts in, `until` does not."""

    actor_id: str | None = None
    action: str | None = None
    outcome: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def of(
        cls,
        *,
        actor_id: str | None,
        action: str | None,
        outcome: str | None,
        since: datetime | None,
        until: datetime | None,
    ) -> AuditFilter:
        """From what a caller sent. Raises BadUserInput naming the field."""
        if action is not None and _ACTION.fullmatch(action) is None:
            raise BadUserInput("expected the name of a mutation or command: letters, at most 64", field="action")
        known = [one.value for one in Outcome]
        if outcome is not None and outcome not in known:
            raise BadUserInput(f"expected one of {', '.join(known)}", field="outcome")
        canonical = None if actor_id is None else ids.parse("usr", actor_id, field="actor_id")
        return cls(canonical, action, outcome, since, until)


@dataclass(frozen=True, slots=True)
class AuditListing:
    """A page of rows, newest first."""

    filter: AuditFilter
    page: PageRequest

    @property
    def keyset(self) -> Keyset:
        """The codec of its cursors."""
        wanted = self.filter
        parts = (wanted.actor_id, wanted.action, wanted.outcome, wanted.since, wanted.until)
        return Keyset(("audit", *("" if part is None else str(part) for part in parts)), (int,))


class AuditRepository(Refusals, Protocol):
    """Where the rows are."""

    async def page(self, listing: AuditListing) -> Page[AuditEvent]:
        """A page of chained rows."""
        ...

    async def after(self, seq: int, most: int, wanted: AuditFilter, until: int) -> list[AuditEvent]:
        """Chained rows with higher numbers than `seq`, none above `until`, in order."""
        ...

    async def newest(self) -> int:
        """The highest number in the chain; 0 when it is empty."""
        ...

    async def seal(self, most: int) -> int:
        """Puts rows that wait into the chain, one process at a time; how many."""
        ...


class AuditLog:
    """Reading the log; for administrators. `refused` is for the edges."""

    def __init__(self, repository: AuditRepository) -> None:
        self._repository = repository
        self.refused = repository.refused

    async def page(self, scope: Scope, wanted: AuditFilter, page: PageRequest) -> Page[AuditEvent]:
        """Rows of all workspaces, newest first. Raises Forbidden, BadUserInput."""
        scope.require_admin()
        return await self._repository.page(AuditListing(wanted, page))

    async def export(self, scope: Scope, wanted: AuditFilter, after: int = 0) -> AsyncGenerator[list[AuditEvent]]:
        """Every row with a higher number than `after` that is in the chain now, in order, in pieces.

        Raises Forbidden.
        """
        scope.require_admin()
        until = await self._repository.newest()
        return _pieces(self._repository, wanted, after, until)


async def _pieces(
    repository: AuditRepository, wanted: AuditFilter, after: int, until: int
) -> AsyncGenerator[list[AuditEvent]]:
    while piece := await repository.after(after, EXPORTED_AT_ONCE, wanted, until):
        yield piece
        after = piece[-1].seq


# --- the chain -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ChainReport:
    """What a walk along the chain found. `broken` is None when every row is where and what it was sealed as."""

    rows: int
    head: bytes
    broken: str | None = None


async def verify(repository: AuditRepository, known: tuple[int, bytes] | None = None) -> ChainReport:
    """Walks the whole chain, and names the first row that is missing, moved or changed.

    `known`: a number and the hash it had when somebody wrote it down. Without it nothing tells that rows are missing
    from the end.
    """
    expected, head = 0, GENESIS
    async with aclosing(_pieces(repository, AuditFilter(), 0, await repository.newest())) as pieces:
        async for piece in pieces:
            for row in piece:
                expected += 1
                if row.seq != expected:
                    return ChainReport(expected - 1, head, f"row {expected} is missing")
                head = row.follows(head)
                if not hmac.compare_digest(head, row.hash):
                    return ChainReport(
                        expected - 1, head, f"row {row.seq} ({row.id}) is not what was written, or follows another row"
                    )
                if known is not None and known[0] == row.seq and not hmac.compare_digest(known[1], head):
                    return ChainReport(expected - 1, head, f"the chain up to row {row.seq} is another one")
    if known is not None and known[0] > expected:
        return ChainReport(expected, head, f"rows {expected + 1} to {known[0]} are missing")
    return ChainReport(expected, head)


class AuditSealer:
    """Puts rows into the chain within a second of their commit. `run` is to be kept by the process's supervisor."""

    def __init__(self, repository: AuditRepository, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._repository = repository
        self._sleep = sleep

    async def run(self) -> None:
        """Seals for ever; raises what the database raises, and is then started again."""
        while True:
            if await self._repository.seal(_SEALED_AT_ONCE) < _SEALED_AT_ONCE:
                await self._sleep(_SEAL_SECONDS)
