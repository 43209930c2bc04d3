"""Every REST route of the nouns, in one list. What is not in it is not served."""

from __future__ import annotations

from typing import Final

from server.rest import documentation, endpoints, experiments, identity, logs, metrics, models, runs
from server.rest.route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *documentation.ROUTES,
    *identity.ROUTES,
    *experiments.ROUTES,
    *runs.ROUTES,
    *metrics.ROUTES,
    *logs.ROUTES,
    *models.ROUTES,
    *endpoints.ROUTES,
)
