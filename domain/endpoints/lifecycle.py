"""The life of an endpoint as pure transitions: each takes it as it is and answers it as it will be.

The repository applies them to the locked row, so that two changes at once happen one after the other. A transition
that changes nothing answers the very same object. Outcomes of the replicas carry the generation they belong to; one
that was overtaken by a later change is ignored.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from domain.endpoints.traffic import WHOLE, shifted
from domain.errors import BadUserInput, Conflict, Unavailable

SWITCHING = "switching: what served before answers until the change is loaded"


def elsewhere(endpoint: Endpoint, host: str) -> Unavailable | None:
    """Why this server cannot act for the endpoint: another one does."""
    if not endpoint.status.active or endpoint.host in (None, host):
        return None
    where = f"endpoint {endpoint.name!r} is served by {endpoint.host!r}, not by this server ({host!r})"
    lost = "; that server has not been heard of lately: start the endpoint to run it here" if endpoint.host_lost else ""
    return Unavailable(where + lost)


def start(endpoint: Endpoint, *, host: str, now: datetime) -> Endpoint:
    """Takes it over from a server that is lost.

    Raises Conflict without a version to serve, and Unavailable when another server is at work for it.
    """
    if _left_behind(endpoint, host):
        return _moved(_latest(endpoint), EndpointStatus.STARTING, host=host, now=now)
    _require_here(endpoint, host)
    if endpoint.status in (EndpointStatus.STARTING, EndpointStatus.RUNNING):
        return endpoint
    if not endpoint.traffic:
        raise Conflict(f"endpoint {endpoint.name!r} has no version to serve; deploy one first")
    return _moved(endpoint, EndpointStatus.STARTING, host=host, now=now)


def stop(endpoint: Endpoint, *, host: str, now: datetime) -> Endpoint:
    """Raises Unavailable when another server is at work for it. Nothing runs any more on one that is lost."""
    if _left_behind(endpoint, host):
        return _moved(endpoint, EndpointStatus.STOPPED, host=None, now=now)
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
    weight: int | None = None,
    traffic: tuple[EndpointTraffic, ...] | None = None,
    replicas: int | None = None,
    config: ConfigChanges | None = None,
) -> Endpoint:
    """Another version, another share of one, other replicas or another configuration; a running endpoint switches
    once it is loaded. A version without a weight takes all requests; `traffic` says the share of every version.

    Raises BadUserInput for values out of bounds, Conflict for shares that do not add up, and Unavailable when another
    server is at work for it.
    """
    _require_here(endpoint, host)
    if weight is not None and version_id is None:
        raise BadUserInput("a weight needs a version", field="weight")
    current = endpoint.pending or endpoint.deployment
    if traffic is None:
        traffic = current.traffic if current is not None else ()
    if version_id is not None:
        traffic = shifted(traffic, version_id, WHOLE if weight is None else weight)
    count = checked_replicas(replicas) if replicas is not None else (current.replicas if current else endpoint.replicas)
    base = current.config if current is not None else endpoint.config
    settings: EndpointConfig = base.changed(config or ConfigChanges(), replicas=count, cores=cores)
    if not traffic:
        return replace(endpoint, replicas=count, config=settings, updated_at=now)
    wanted = Deployment(traffic, count, settings)
    retried = endpoint.pending is None and any(share.failure for share in endpoint.traffic)
    if wanted == current and not retried:
        return endpoint
    if endpoint.status is not EndpointStatus.RUNNING:
        changed = _serving(endpoint, wanted)
        return replace(changed, generation=endpoint.generation + 1, updated_at=now)
    back = wanted == endpoint.deployment and not retried
    return replace(
        endpoint,
        pending=None if back else wanted,
        status_reason=None if back else SWITCHING,
        generation=endpoint.generation + 1,
        updated_at=now,
    )


def loaded(
    endpoint: Endpoint, *, generation: int, deployment: Deployment, failures: Mapping[str, str], now: datetime
) -> Endpoint:
    """The deployment serves now, except for the versions in `failures` (by id, with the reason): at least one does."""
    if endpoint.generation != generation or not endpoint.status.serves:
        return endpoint
    if endpoint.status is EndpointStatus.RUNNING and endpoint.pending is None and not failures:
        return endpoint
    served = _serving(endpoint, deployment)
    for version_id, reason in failures.items():
        served = _without(served, version_id, reason)
    return replace(
        served,
        status=EndpointStatus.RUNNING,
        status_reason=served.status_reason if failures else None,
        pending=None,
        updated_at=now,
    )


def failed(endpoint: Endpoint, *, generation: int, reason: str, serving: bool, now: datetime) -> Endpoint:
    """A deployment could not be loaded. `serving`: what served before still does, so only the change is dropped."""
    if endpoint.generation != generation or not endpoint.status.serves:
        return endpoint
    if endpoint.status is EndpointStatus.RUNNING and endpoint.pending is not None and serving:
        kept = f"the last change could not be loaded, so what served before still does: {reason}"
        return replace(endpoint, pending=None, status_reason=kept, updated_at=now)
    return replace(_moved(endpoint, EndpointStatus.FAILED, host=None, now=now), status_reason=reason)


def crashed(endpoint: Endpoint, *, host: str, version_id: str, reason: str, now: datetime) -> Endpoint:
    """The replicas of a version kept dying after it was loaded: the other versions answer for it, if there are any."""
    alive = {share.version_id for share in endpoint.traffic if share.failure is None}
    if endpoint.status is not EndpointStatus.RUNNING or endpoint.host != host or version_id not in alive:
        return endpoint
    if alive != {version_id}:
        return replace(_without(endpoint, version_id, reason), updated_at=now)
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
    return _moved(_latest(endpoint), EndpointStatus.STARTING, host=endpoint.host, now=now)


def removable(endpoint: Endpoint, *, host: str) -> None:
    """Raises Conflict unless nothing of the endpoint runs."""
    _require_here(endpoint, host)
    if endpoint.status.active:
        raise Conflict(f"endpoint {endpoint.name!r} is {endpoint.status.name}; stop it first")


def _require_here(endpoint: Endpoint, host: str) -> None:
    if (problem := elsewhere(endpoint, host)) is not None:
        raise problem


def _left_behind(endpoint: Endpoint, host: str) -> bool:
    """Whether it was served by another server, and that one is lost."""
    return endpoint.host_lost and elsewhere(endpoint, host) is not None


def _latest(endpoint: Endpoint) -> Endpoint:
    """With what it was about to switch to."""
    return endpoint if endpoint.pending is None else _serving(endpoint, endpoint.pending)


def _without(endpoint: Endpoint, version_id: str, reason: str) -> Endpoint:
    """A version of several takes no more requests."""
    return replace(
        endpoint,
        traffic=[
            replace(share, failure=reason) if share.version_id == version_id else share for share in endpoint.traffic
        ],
        status_reason=f"a version failed, and the others answer for it: {reason}",
    )


def _serving(endpoint: Endpoint, deployment: Deployment) -> Endpoint:
    return replace(
        endpoint,
        traffic=list(deployment.traffic),
        replicas=deployment.replicas,
        config=deployment.config,
    )


def _moved(endpoint: Endpoint, status: EndpointStatus, *, host: str | None, now: datetime) -> Endpoint:
    failed = status is EndpointStatus.FAILED
    return replace(
        endpoint,
        status=status,
        traffic=endpoint.traffic if failed else [replace(share, failure=None) for share in endpoint.traffic],
        status_reason=None,
        pending=None,
        host=host,
        generation=endpoint.generation + 1,
        updated_at=now,
    )
