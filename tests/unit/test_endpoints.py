"""The life of an endpoint as pure transitions: nothing gets stuck, nothing overtaken is recorded."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.endpoints import ConfigChanges, Deployment, Endpoint, EndpointConfig, EndpointStatus, EndpointTraffic
from domain.endpoints import lifecycle as life
from domain.errors import BadUserInput, Conflict, Unavailable

NOW = datetime(2026, 1, 31, tzinfo=UTC)
CONFIG = EndpointConfig()


def _endpoint(status: EndpointStatus = EndpointStatus.STOPPED, version: str | None = "ver_1") -> Endpoint:
    return Endpoint(
        id="end_1",
        workspace_id="wsp_1",
        name="e",
        status=status,
        status_reason=None,
        traffic=[EndpointTraffic(version, 100)] if version else [],
        replicas=1,
        config=CONFIG,
        port=None,
        owner_id="usr_1",
        created_at=NOW,
        updated_at=NOW,
        host="here" if status.active else None,
    )


def _to(version: str) -> partial[Endpoint]:
    return partial(life.change, host="here", now=NOW, cores=4, version_id=version)


@given(st.lists(st.sampled_from(["start", "stop", "v1", "v2", "v3", "restart", "crash"]), max_size=12), st.booleans())
def test_replicas_that_follow_every_change_end_steady(changes: list[str], loads: bool) -> None:
    endpoint = _endpoint()
    for change in changes:
        match change:
            case "start":
                endpoint = life.start(endpoint, host="here", now=NOW)
            case "stop":
                endpoint = life.stop(endpoint, host="here", now=NOW)
            case "restart":
                endpoint = life.restarted(endpoint, now=NOW)
            case "crash":
                endpoint = life.crashed(
                    endpoint, host="here", version_id=endpoint.traffic[0].version_id, reason="died", now=NOW
                )
            case _:
                endpoint = _to(f"ver_{change}")(endpoint)
        assert endpoint.pending is None or endpoint.status is EndpointStatus.RUNNING
        assert (endpoint.host == "here") == endpoint.status.active
        assert sum(share.weight for share in endpoint.traffic) == 100
    for _ in range(3):
        target = endpoint.pending or endpoint.deployment
        assert target is not None
        generation = endpoint.generation
        if endpoint.status is EndpointStatus.DRAINING:
            endpoint = life.drained(endpoint, generation=generation, now=NOW)
        elif endpoint.status is EndpointStatus.STARTING or endpoint.pending is not None:
            endpoint = (
                life.loaded(endpoint, generation=generation, deployment=target, failures={}, now=NOW)
                if loads
                else life.failed(endpoint, generation=generation, reason="no", serving=True, now=NOW)
            )
    assert endpoint.status in (EndpointStatus.STOPPED, EndpointStatus.RUNNING, EndpointStatus.FAILED)
    assert endpoint.pending is None


def test_an_overtaken_outcome_is_ignored() -> None:
    starting = _endpoint(EndpointStatus.STARTING)
    stopped = life.stop(starting, host="here", now=NOW)
    deployment = Deployment((EndpointTraffic("ver_1", 100),), 1, CONFIG)
    old = starting.generation
    assert life.loaded(stopped, generation=old, deployment=deployment, failures={}, now=NOW) is stopped
    assert life.failed(stopped, generation=old, reason="x", serving=False, now=NOW) is stopped
    again = life.start(stopped, host="here", now=NOW)
    assert life.drained(again, generation=stopped.generation, now=NOW) is again


def test_going_back_before_the_switch_cancels_it() -> None:
    running = _endpoint(EndpointStatus.RUNNING)
    switching = _to("ver_2")(running)
    assert switching.pending == Deployment((EndpointTraffic("ver_2", 100),), 1, replace(CONFIG, threads=3))
    back = life.change(switching, host="here", now=NOW, cores=1, version_id="ver_1")
    assert (back.pending, back.status_reason) == (None, None)
    assert back.generation > switching.generation


def test_another_server_is_named() -> None:
    running = _endpoint(EndpointStatus.RUNNING)
    for act in (life.start, life.stop):
        with pytest.raises(Unavailable, match="'here'"):
            act(running, host="there", now=NOW)
    assert life.start(_endpoint(), host="there", now=NOW).host == "there"


def test_nothing_starts_without_a_version() -> None:
    with pytest.raises(Conflict):
        life.start(_endpoint(version=None), host="here", now=NOW)


def test_threads_follow_replicas_until_somebody_chooses_them() -> None:
    shared = CONFIG.changed(ConfigChanges(), replicas=2, cores=8)
    assert (shared.threads, shared.shared_threads) == (4, True)
    assert shared.changed(ConfigChanges(), replicas=4, cores=8).threads == 2
    chosen = shared.changed(ConfigChanges(threads=3), replicas=2, cores=8)
    assert (chosen.threads, chosen.shared_threads) == (3, False)
    with pytest.raises(BadUserInput, match="9 cores"):
        chosen.changed(ConfigChanges(), replicas=3, cores=8)
    with pytest.raises(BadUserInput) as refused:
        CONFIG.changed(ConfigChanges(), replicas=3, cores=2)
    assert refused.value.field == "replicas"
