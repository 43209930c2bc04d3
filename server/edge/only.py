"""What a port of an endpoint's own answers: predictions of that endpoint, and whether the server is well.

The restriction travels with the request and is applied where requests are routed, behind the whole edge: whoever asks
for something else is authenticated, counted and logged as everywhere, and finds nothing.
"""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_KEY: Final = "axonml.only"
_HEALTH: Final = frozenset({"/health", "/health/live", "/health/ready", "/v2", "/v2/health/live", "/v2/health/ready"})
_PREDICTIONS: Final = ("/api/inference/predict/", "/v2/models/")


class Only:
    """`app` for requests of one endpoint, given by id and name."""

    def __init__(self, app: ASGIApp, endpoint_id: str, name: str) -> None:
        self._app = app
        self._names = frozenset({endpoint_id, name})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        scope[_KEY] = self._names
        await self._app(scope, receive, send)


def is_elsewhere(scope: Scope) -> bool:
    """Whether the request came to a port that does not answer its path."""
    names: frozenset[str] | None = scope.get(_KEY)
    if names is None or scope["path"] in _HEALTH:
        return False
    for prefix in _PREDICTIONS:
        if scope["path"].startswith(prefix):
            return scope["path"][len(prefix) :].partition("/")[0] not in names
    return True
