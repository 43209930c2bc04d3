"""Liveness and readiness, for whoever starts, watches or balances servers. Public, and therefore silent on detail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from starlette.requests import Request
from starlette.responses import Response

from domain.errors import Unavailable
from domain.storage import Place, Storage
from server.edge.connections import LiveConnections
from server.rest.errors import ShuttingDown
from server.rest.handler import answer
from server.rest.operations.system import HEALTH, READY
from server.rest.route import Route
from server.rest.structs.system import Health, Readiness, SpaceStates


def routes(
    version: str, ready: Callable[[], Awaitable[None]], storage: Storage, connections: LiveConnections
) -> list[Route]:
    """`/health` and `/health/ready`. `ready` raises Unavailable with what is missing."""

    async def health(_: Request) -> Response:
        return answer(Health(status="ok", version=version))

    async def readiness(_: Request) -> Response:
        if connections.stopping.is_set():
            raise ShuttingDown("the server is shutting down", retry_after=1)
        try:
            await ready()
        except Unavailable as problem:
            raise Unavailable(problem.message, retry_after=problem.retry_after or 1) from None
        # Short of space the server still reads and deletes, so it stays in rotation.
        space = SpaceStates(database=_state(storage, Place.DATABASE), files=_state(storage, Place.FILES))
        return answer(Readiness(status="ready", database="ok", migrations="ok", space=space))

    return [Route(HEALTH, health), Route(READY, readiness)]


def _state(storage: Storage, place: Place) -> Literal["ok", "low"]:
    return "low" if storage.low(place) else "ok"
