"""Every REST route of the nouns, in one list. What is not in it is not served."""

from __future__ import annotations

from typing import Final

from server.rest import endpoints, experiments, identity, logs, metrics, models, runs
from server.rest.route import Route

ROUTES: Final[tuple[Route, ...]] = (
    *identity.ROUTES,
    *experiments.ROUTES,
    *runs.ROUTES,
    *metrics.ROUTES,
    *logs.ROUTES,
    *models.ROUTES,
    *endpoints.ROUTES,
)
