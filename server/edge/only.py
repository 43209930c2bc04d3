"""What a port of an endpoint's own answers: predictions of that endpoint, and whether the server is well.

The restriction travels with the request and is applied where requests are routed, behind the whole edge: whoever asks
for something else is authenticated, counted and logged as everywhere, and finds nothing.
"""

from __future__ import annotations

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

_KEY: Final = "axonml.elsewhere"
_HEALTH: Final = frozenset({"/health", "/health/live", "/health/ready", "/v2", "/v2/health/live", "/v2/health/ready"})
_PREDICTIONS: Final = ("/api/inference/predict/", "/v2/models/")


class Only:
    """`app` for requests of one endpoint, given by id and name."""

    def __init__(self, app: ASGIApp, endpoint_id: str, name: str) -> None:
        self._app = app
        self._id = endpoint_id
        self._names = frozenset({endpoint_id, name})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        path = self._own(scope["path"])
        if path is None:
            await self._app({**scope, _KEY: True}, receive, send)
        else:
            await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, send)

    def _own(self, path: str) -> str | None:
        """The path with the endpoint's id, because other workspaces have endpoints of that name; None: not answered."""
        if path in _HEALTH:
            return path
        for prefix in _PREDICTIONS:
            name, slash, rest = path[len(prefix) :].partition("/")
            if path.startswith(prefix) and name in self._names:
                return f"{prefix}{self._id}{slash}{rest}"
        return None


def is_elsewhere(scope: Scope) -> bool:
    """Whether the request came to a port that does not answer its path."""
    return _KEY in scope
