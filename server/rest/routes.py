"""Every REST route and WebSocket of the nouns, in two lists. What is not in them is not served."""

from __future__ import annotations

from typing import Final

from starlette.routing import WebSocketRoute

from server.rest import (
    aliases,
    audit,
    documentation,
    endpoints,
    experiments,
    identity,
    logs,
    metrics,
    models,
    passkeys,
    people,
    permissions,
    runs,
    second_factors,
    stream,
    system,
    uploads,
)
from server.rest.route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *identity.ROUTES,
    *second_factors.ROUTES,
    *passkeys.ROUTES,
    *people.ROUTES,
    *permissions.ROUTES,
    *experiments.ROUTES,
    *runs.ROUTES,
    *metrics.ROUTES,
    *stream.ROUTES,
    *logs.ROUTES,
    *models.ROUTES,
    *uploads.ROUTES,
    *aliases.ROUTES,
    *endpoints.ROUTES,
    *system.ROUTES,
    *audit.ROUTES,
    *documentation.ROUTES,
)

SOCKETS: Final[tuple[WebSocketRoute, ...]] = stream.SOCKETS
