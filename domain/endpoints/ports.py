"""Where endpoints are kept. The scoped half serves callers; the other half serves the server that runs replicas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from domain.access import Scope
from domain.endpoints.entities import Endpoint, Route, ServedVersion
from domain.endpoints.listening import Room
from domain.endpoints.warm_ups import Reports, WarmUpReport
from domain.idempotency import ClientToken
from domain.paging import Page, PageRequest

Transition = Callable[[Endpoint], Endpoint]


class EndpointRepository(Protocol):
    """Endpoints of one workspace, as far as the scope may read them; each call is one atomic unit."""

    async def create(self, scope: Scope, endpoint: Endpoint, token: ClientToken | None, *, room: Room) -> Endpoint:
        """Raises Conflict for a taken name or a host without room, NotFound for a version that is gone."""
        ...

    async def change(self, scope: Scope, endpoint_id: str, transition: Transition, *, room: Room) -> Endpoint:
        """Applies a transition to the locked endpoint. Raises NotFound, what the transition raises, and as `create`."""
        ...

    async def create_or_change(
        self,
        scope: Scope,
        endpoint: Endpoint,
        transition: Transition,
        token: ClientToken | None,
        *,
        admit: Callable[[str | None], None],
        room: Room,
    ) -> Endpoint:
        """Creates `endpoint`, or applies the transition to the one that has its name. A token that was used before
        answers the endpoint as it is now.

        `admit` is told the id of that one, locked, or None, before anything is kept; what it raises is raised.
        """
        ...

    async def delete(self, scope: Scope, endpoint_id: str, check: Callable[[Endpoint], None]) -> None:
        """Deletes the locked endpoint unless `check` raises. Raises NotFound."""
        ...

    async def by_ids(self, scope: Scope, endpoint_ids: Sequence[str]) -> dict[str, Endpoint]: ...

    async def by_name(self, scope: Scope, name: str) -> Endpoint | None: ...

    async def warm_ups(self, scope: Scope, endpoint_ids: Sequence[str]) -> Reports:
        """What loading the versions behind each endpoint cost; those without a report are left out."""
        ...

    async def page(self, scope: Scope, page: PageRequest, offset: int = 0) -> Page[Endpoint]:
        """Newest first."""
        ...

    async def of_owners(
        self, scope: Scope, owner_ids: Sequence[str], page: PageRequest
    ) -> dict[str, Page[Endpoint]]: ...

    async def of_versions(
        self, scope: Scope, version_ids: Sequence[str], page: PageRequest
    ) -> dict[str, Page[Endpoint]]:
        """The endpoints whose traffic the version takes, newest first."""
        ...


class EndpointHosting(Protocol):
    """Endpoints as the server that runs their replicas sees them, whatever their workspace. Never for a caller."""

    async def of_host(self, host: str) -> list[Endpoint]:
        """The active endpoints of a server."""
        ...

    async def beat(self, host: str) -> bool:
        """Notes that the server is there; whether the others could not have taken it for lost in the meantime."""
        ...

    async def leave(self, host: str) -> None:
        """Notes that the server has stopped."""
        ...

    async def load(self, endpoint_id: str) -> Endpoint | None: ...

    async def amend(self, endpoint_id: str, transition: Transition) -> Endpoint | None:
        """Applies a transition to the locked endpoint; None when it is gone."""
        ...

    async def warmed(self, endpoint_id: str, report: WarmUpReport) -> None:
        """Keeps what loading a version cost."""
        ...

    async def served_version(self, version_id: str) -> ServedVersion | None:
        """What is needed to serve a version; None when it is gone or cannot be served."""
        ...


class Listeners(Protocol):
    """Ports of their own for endpoints, on this server."""

    async def open(self, endpoint_id: str, name: str, port: int) -> None:
        """Answers predictions of the endpoint at the port, until `close`. Raises Conflict when somebody else has it."""
        ...

    async def close(self, endpoint_id: str) -> None:
        """Frees its port, if it has one, after what was accepted there is answered."""
        ...


class RouteWatcher(Protocol):
    """Who wants to know which ways to a prediction there are."""

    def opened(self, route: Route) -> None:
        """From here on requests for its endpoint go there, and no longer where they went before."""
        ...

    def closed(self, endpoint_id: str) -> None:
        """From here on the endpoint takes no requests."""
        ...


class EndpointRunner(Protocol):
    """What makes the replicas of this server follow the record, seen from a process that answers callers."""

    @property
    def host(self) -> str:
        """The name of this server among those on the same database."""
        ...

    def route(self, workspace_id: str, endpoint: str) -> Route | None:
        """What answers for an endpoint, given by name or id; None when nothing does."""
        ...

    def wake(self, endpoint: Endpoint) -> None:
        """The record of an endpoint changed. One that is to stop takes no more requests from here on."""
        ...

    def forget(self, endpoint_id: str) -> None:
        """The endpoint is deleted."""
        ...

    async def settled(self, endpoint_id: str, seconds: float) -> None:
        """Waits until nothing is left to do for an endpoint, or the time is over."""
        ...
