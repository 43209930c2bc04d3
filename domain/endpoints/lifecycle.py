"""The life of an endpoint as pure transitions: each takes it as it is and answers it as it will be.

The repository applies them to the locked row, so that two changes at once happen one after the other. A transition
that changes nothing answers the very same object. Outcomes of the replicas carry the generation they belong to; one
that was overtaken by a later change is ignored.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from domain.endpoints.entities import (
    ConfigChanges,
    Deployment,
    Endpoint,
    EndpointConfig,
    EndpointStatus,
    EndpointTraffic,
    checked_replicas,
)
from domain.errors import Conflict, Unavailable

SWITCHING = "switching: what served before answers until the change is loaded"


def elsewhere(endpoint: Endpoint, host: str) -> Unavailable | None:
    """Why this server cannot act for the endpoint: another one does."""
    if not endpoint.status.active or endpoint.host in (None, host):
        return None
    return Unavailable(f"endpoint {endpoint.name!r} is served by {endpoint.host!r}, not by this server ({host!r})")


def start(endpoint: Endpoint, *, host: str, now: datetime) -> Endpoint:
    """Raises Conflict without a version to serve, and Unavailable when another server is at work for it."""
    _require_here(endpoint, host)
    if endpoint.status in (EndpointStatus.STARTING, EndpointStatus.RUNNING):
        return endpoint
    if not endpoint.traffic:
        raise Conflict(f"endpoint {endpoint.name!r} has no version to serve; deploy one first")
    return _moved(endpoint, EndpointStatus.STARTING, host=host, now=now)


def stop(endpoint: Endpoint, *, host: str, now: datetime) -> Endpoint:
    """Raises Unavailable when another server is at work for it."""
    _require_here(endpoint, host)
    if endpoint.status in (EndpointStatus.STOPPED, EndpointStatus.DRAINING):
        return endpoint
    if endpoint.status is EndpointStatus.FAILED:
        return _moved(endpoint, EndpointStatus.STOPPED, host=None, now=now)
    return _moved(endpoint, EndpointStatus.DRAINING, host=host, now=now)


def change(
    endpoint: Endpoint,
    *,
    host: str,
    now: datetime,
    cores: int,
    version_id: str | None = None,
    replicas: int | None = None,
    config: ConfigChanges | None = None,
) -> Endpoint:
    """Another version, other replicas or another configuration; a running endpoint switches once it is loaded.

    Raises BadUserInput for values out of bounds and Unavailable when another server is at work for it.
    """
    _require_here(endpoint, host)
    current = endpoint.pending or endpoint.deployment
    wanted_version = version_id or (current.version_id if current is not None else None)
    count = checked_replicas(replicas) if replicas is not None else (current.replicas if current else endpoint.replicas)
    base = current.config if current is not None else endpoint.config
    settings: EndpointConfig = base.changed(config or ConfigChanges(), replicas=count, cores=cores)
    if wanted_version is None:
        return replace(endpoint, replicas=count, config=settings, updated_at=now)
    wanted = Deployment(wanted_version, count, settings)
    if wanted == current:
        return endpoint
    if endpoint.status is not EndpointStatus.RUNNING:
        changed = _serving(endpoint, wanted)
        return replace(changed, generation=endpoint.generation + 1, updated_at=now)
    back = wanted == endpoint.deployment
    return replace(
        endpoint,
        pending=None if back else wanted,
        status_reason=None if back else SWITCHING,
        generation=endpoint.generation + 1,
        updated_at=now,
    )


def loaded(endpoint: Endpoint, *, generation: int, deployment: Deployment, now: datetime) -> Endpoint:
    """The deployment serves now."""
    if endpoint.generation != generation or endpoint.status not in (EndpointStatus.STARTING, EndpointStatus.RUNNING):
        return endpoint
    if endpoint.status is EndpointStatus.RUNNING and endpoint.pending is None:
        return endpoint
    return replace(
        _serving(endpoint, deployment),
        status=EndpointStatus.RUNNING,
        status_reason=None,
        pending=None,
        updated_at=now,
    )


def failed(endpoint: Endpoint, *, generation: int, reason: str, serving: bool, now: datetime) -> Endpoint:
    """A deployment could not be loaded. `serving`: what served before still does, so only the change is dropped."""
    if endpoint.generation != generation or endpoint.status not in (EndpointStatus.STARTING, EndpointStatus.RUNNING):
        return endpoint
    if endpoint.status is EndpointStatus.RUNNING and endpoint.pending is not None and serving:
        kept = f"the last change could not be loaded, so what served before still does: {reason}"
        return replace(endpoint, pending=None, status_reason=kept, updated_at=now)
    return replace(_moved(endpoint, EndpointStatus.FAILED, host=None, now=now), status_reason=reason)


def crashed(endpoint: Endpoint, *, version_id: str, reason: str, now: datetime) -> Endpoint:
    """The replicas of a version kept dying after it was loaded."""
    serving = any(share.version_id == version_id for share in endpoint.traffic)
    if endpoint.status is not EndpointStatus.RUNNING or not serving:
        return endpoint
    if endpoint.pending is not None:
        return _moved(_serving(endpoint, endpoint.pending), EndpointStatus.STARTING, host=endpoint.host, now=now)
    return replace(_moved(endpoint, EndpointStatus.FAILED, host=None, now=now), status_reason=reason)


def drained(endpoint: Endpoint, *, generation: int, now: datetime) -> Endpoint:
    """Nothing of it runs any more."""
    if endpoint.generation != generation or endpoint.status is not EndpointStatus.DRAINING:
        return endpoint
    return replace(endpoint, status=EndpointStatus.STOPPED, host=None, updated_at=now)


def restarted(endpoint: Endpoint, *, now: datetime) -> Endpoint:
    """The server that was at work for it has just started, so nothing of it is loaded."""
    if endpoint.status is not EndpointStatus.RUNNING:
        return endpoint
    return _moved(
        _serving(endpoint, endpoint.pending) if endpoint.pending else endpoint,
        EndpointStatus.STARTING,
        host=endpoint.host,
        now=now,
    )


def removable(endpoint: Endpoint, *, host: str) -> None:
    """Raises Conflict unless nothing of the endpoint runs."""
    _require_here(endpoint, host)
    if endpoint.status.active:
        raise Conflict(f"endpoint {endpoint.name!r} is {endpoint.status.name}; stop it first")


def _require_here(endpoint: Endpoint, host: str) -> None:
    if (problem := elsewhere(endpoint, host)) is not None:
        raise problem


def _serving(endpoint: Endpoint, deployment: Deployment) -> Endpoint:
    return replace(
        endpoint,
        traffic=[EndpointTraffic(deployment.version_id, 100)],
        replicas=deployment.replicas,
        config=deployment.config,
    )


def _moved(endpoint: Endpoint, status: EndpointStatus, *, host: str | None, now: datetime) -> Endpoint:
    return replace(
        endpoint,
        status=status,
        status_reason=None,
        pending=None,
        host=host,
        generation=endpoint.generation + 1,
        updated_at=now,
    )
