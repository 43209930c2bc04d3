"""How many of the requests and sockets open at once one caller may hold, so that a place stays free for everybody else.

A user is one caller, with all sessions and API keys: keys cost nothing to make. Strangers together are one too, once
for their requests and once for their sockets, so that sockets that wait keep nobody from signing in; and they never get
the last tenth of all places. Of their requests one address has an eighth, so that bodies that drip from one place keep
nobody elsewhere from signing in. Whoever is refused loses nothing that is open already. Several web processes count
each for itself, as they do with all their places.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, cast

from starlette.types import Scope

from domain import access
from domain.access import Principal
from domain.errors import Overloaded
from server.edge.addresses import place_of
from server.settings import LimitsSettings

RETRY_SECONDS: Final = 1.0
_PLACE: Final = "axonml.place"
_ALWAYS: Final = frozenset({"/health", "/health/ready"})  # a crowd of strangers makes no server unwell

Owners = tuple[str | bytes, ...]
"""A user; or strangers by what they open, and for a request the address it comes from."""


class Shares:
    """The shares of all callers of one process."""

    def __init__(self, limits: LimitsSettings) -> None:
        self._most = limits.most_per_caller
        self._most_of_keys = max(1, self._most * 9 // 10)
        self._most_strangers = limits.most_strangers
        self._most_of_address = max(1, limits.most_strangers // 8)
        self._for_strangers = limits.connections - limits.connections // 10
        self._open: Counter[str | bytes] = Counter()
        self._total = 0

    def __len__(self) -> int:
        """How many callers hold something."""
        return len(self._open)

    def enter(self, scope: Scope, caller: access.Scope | None) -> Place:
        """Counts a request or socket that its caller, None for a stranger, has just opened. Raises Overloaded."""
        owners: Owners
        if scope["path"] in _ALWAYS:
            owners = ()
        elif caller is not None:
            owners = self.caller(caller.principal)
        elif scope["type"] == "websocket":
            owners = self._stranger("sockets")
        else:
            owners = self._asking_stranger(scope)
        place = scope[_PLACE] = Place(self, owners)
        return place

    def caller(self, principal: Principal) -> Owners:
        """Counts one more of a user. Keys leave a tenth to sessions: somebody must get in to revoke them."""
        most = self._most if principal.api_key_id is None else self._most_of_keys
        if self._open.get(principal.user_id, 0) >= most:
            raise Overloaded(
                f"this user has too many requests and sockets open, at most {most}; end some, or try again",
                retry_after=RETRY_SECONDS,
            )
        return self._take(principal.user_id)

    def _asking_stranger(self, scope: Scope) -> Owners:
        client = scope.get("client")
        address = place_of(client[0] if client else None)
        if self._open.get(address, 0) >= self._most_of_address:
            raise Overloaded(
                "too many requests of callers at this address who have not signed in; try again",
                retry_after=RETRY_SECONDS,
            )
        return self._stranger("requests", address)

    def _stranger(self, kind: str, *others: bytes) -> Owners:
        if self._open.get(kind, 0) >= self._most_strangers or self._total >= self._for_strangers:
            raise Overloaded(f"too many {kind} of callers who have not signed in; try again", retry_after=RETRY_SECONDS)
        return self._take(kind, *others)

    def _take(self, *owners: str | bytes) -> Owners:
        self._open.update(owners)
        self._total += 1
        return owners

    def release(self, owners: Owners) -> None:
        """Counts one less."""
        self._total -= 1
        for owner in owners:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]


class Place:
    """One open request or socket, counted for its `owners`; for nobody when there are none."""

    def __init__(self, shares: Shares, owners: Owners) -> None:
        self._shares = shares
        self._owners = owners

    def move(self, principal: Principal) -> None:
        """From now on it is this caller's. Raises Overloaded when they have no room; it stays whose it was then."""
        owners = self._shares.caller(principal)
        self.leave()
        self._owners = owners

    def leave(self) -> None:
        """It has ended."""
        if self._owners:
            self._shares.release(self._owners)
            self._owners = ()


def place_in(scope: Scope) -> Place:
    """The place of a request that has passed the gate."""
    return cast("Place", scope[_PLACE])
