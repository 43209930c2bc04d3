"""What the contract says about each served REST operation, one module per noun.

The route modules pair these with their handlers. Nothing here executes: changing a text or a shape here means
changing `schema/openapi.json` first.
"""

from __future__ import annotations

from server.rest.operations import (
    aliases,
    audit,
    auth,
    endpoints,
    experiments,
    metrics,
    models,
    passkeys,
    people,
    permissions,
    runs,
    second_factors,
    system,
    uploads,
)

SERVED = (
    *system.OPERATIONS,
    *audit.OPERATIONS,
    *auth.OPERATIONS,
    *second_factors.OPERATIONS,
    *passkeys.OPERATIONS,
    *people.OPERATIONS,
    *permissions.OPERATIONS,
    *experiments.OPERATIONS,
    *runs.OPERATIONS,
    *metrics.OPERATIONS,
    *models.OPERATIONS,
    *uploads.OPERATIONS,
    *aliases.OPERATIONS,
    *endpoints.OPERATIONS,
)
