"""Two servers on one database: one product. What is done through one is seen through the other, live, and only once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.models import linear
from tests.support.product import RefusedError
from tests.support.registry import weights_file
from tests.support.servers import PASSWORD, SECRET, WAIT, Server, server, until
from tests.support.watching import LOGS, METRICS, Watch

BATCHES = 60
POINTS = 20


@asynccontextmanager
async def pair(
    folder: Path, database_url: str, *, admin: bool, **settings: str
) -> AsyncIterator[tuple[Server, Server]]:
    """Two servers with data directories of their own on one database, started at once."""
    shared = {"AXONML_DATABASE_URL": database_url, "JWT_SECRET": SECRET, **settings}
    async with AsyncExitStack() as stack:
        servers = [server(folder, name=name, environment=shared, admin=admin) for name in ("a", "b")]
        first, second = await asyncio.gather(*(stack.enter_async_context(each) for each in servers))
        yield first, second


async def test_what_ends_or_is_used_up_here_is_so_there(folder: Path, database_url: str) -> None:
    async with pair(folder, database_url, admin=False) as (first, second):
        account = await _set_up_once(first, second)
        assert await _end_a_session(first, second, account) == [4403]
        assert await _revoke_a_key(first, second, account) == [4403]


async def _set_up_once(first: Server, second: Server) -> dict[str, str]:
    """Both links are tried at both servers at once: one administrator is made. The account."""

    async def set_up(place: Server, token: str, number: int) -> httpx.Response:
        body = {"token": token, "email": f"admin{number}@example.com", "password": PASSWORD}
        async with httpx.AsyncClient(base_url=place.url, timeout=WAIT, trust_env=False, verify=False) as http:
            return await http.post("/api/auth/setup", json=body)

    links = [(place, text) for place in (first, second) for text in (first.setup_token, second.setup_token)]
    answers = await asyncio.gather(*(set_up(*link, number) for number, link in enumerate(links)))
    made = [answer.json() for answer in answers if answer.status_code == 201]
    assert len(made) == 1, [answer.text for answer in answers]
    for place in (first, second):
        answers.append(await set_up(place, place.setup_token, 9))
        async with httpx.AsyncClient(base_url=place.url, trust_env=False, verify=False) as http:
            asked = await http.post("/graphql", json={"query": "{ serverInfo { setupRequired } }"})
        assert asked.json()["data"]["serverInfo"]["setupRequired"] is False
    refused = [answer for answer in answers if answer.status_code != 201]
    assert len(refused) == 5
    # The link of the server that started last counts; the other one is told so.
    codes = {answer.json()["error"]["code"] for answer in refused}
    assert codes <= {"CONFLICT", "UNAUTHENTICATED"}, [each.text for each in refused]
    assert all(answer.json()["error"]["code"] == "CONFLICT" for answer in answers[-2:]), [each.text for each in refused]
    return {"email": made[0]["user"]["email"], "password": PASSWORD}


async def _end_a_session(first: Server, second: Server, account: dict[str, str]) -> list[int]:
    """Logs out at one server; how the session's subscriptions at the other one were closed."""
    async with (
        httpx.AsyncClient(base_url=first.url, timeout=WAIT, trust_env=False, verify=False) as here,
        httpx.AsyncClient(base_url=second.url, timeout=WAIT, trust_env=False, verify=False) as there,
    ):
        tokens = [(await here.post("/api/auth/login", json=account)).json()["token"] for _ in range(2)]
        ending, other = ({"Authorization": f"Bearer {token}"} for token in tokens)
        run = (await here.post("/api/training/runs", json={"name": "r"}, headers=other)).json()["id"]
        watch = Watch(second, METRICS, run, bearer=ending)
        following = asyncio.create_task(watch.follow())
        await until(lambda: watch.messages > 0, "the subscription did not begin")
        assert (await there.get("/api/auth/me", headers=ending)).status_code == 200
        assert (await here.post("/api/auth/logout", headers=ending)).is_success

        async def refused() -> bool:
            return (await there.get("/api/auth/me", headers=ending)).status_code == 401

        await until(refused, "the session still works on the other server")
        await asyncio.wait([following], timeout=10)
        assert following.done()
        kept = await there.get("/api/auth/me", headers=other)
        assert kept.status_code == 200, "the other session of the same user goes on"
        return watch.closed


async def _revoke_a_key(first: Server, second: Server, account: dict[str, str]) -> list[int]:
    """Revokes an API key at one server; how its subscriptions at the other one were closed."""
    async with httpx.AsyncClient(base_url=first.url, timeout=WAIT, trust_env=False, verify=False) as here:
        signed = {"Authorization": f"Bearer {(await here.post('/api/auth/login', json=account)).json()['token']}"}
        body = {"name": "watcher", "scopes": ["runs:read"]}
        made = (await here.post("/api/auth/keys", json=body, headers=signed)).json()
        run = (await here.post("/api/training/runs", json={"name": "r"}, headers=signed)).json()["id"]
        watch = Watch(second, METRICS, run, bearer={"Authorization": f"Bearer {made['secret']}"})
        following = asyncio.create_task(watch.follow())
        await until(lambda: watch.messages > 0, "the subscription did not begin")
        revoked = await here.delete(f"/api/auth/keys/{made['api_key']['id']}", headers=signed)
        assert revoked.status_code == 204, revoked.text
        await asyncio.wait([following], timeout=10)
        assert following.done()
        return watch.closed


async def test_runs_and_endpoints_of_one_are_seen_through_the_other(folder: Path, database_url: str) -> None:
    async with pair(folder, database_url, admin=True) as (first, second):
        metrics, logs = await _follow_through_the_other(first, second)
        for key in ("a", "b"):
            assert metrics.points(key) == [(step, float(step)) for step in range(BATCHES * POINTS)]
            assert [line for line in logs.lines if line.startswith(f"{key} ")] == [f"{key} {n}" for n in range(BATCHES)]
        assert (metrics.status, logs.status) == ("COMPLETED", "COMPLETED")
        assert metrics.connections == logs.connections == 1
        await _predict_at_its_own_server(first, second)


async def _follow_through_the_other(first: Server, second: Server) -> tuple[Watch, Watch]:
    """What was heard at one server of a run that both were sent: its metrics, and its logs."""
    run = await first.run()
    async with asyncio.TaskGroup() as group:
        metrics, logs = Watch(second, METRICS, run), Watch(second, LOGS, run)
        following = [group.create_task(watch.follow()) for watch in (metrics, logs)]
        # Several writers at once, through both servers: the order is the order of the commits.
        async with first.http() as here, second.http() as there:

            async def write(http: httpx.AsyncClient, key: str) -> None:
                for batch in range(BATCHES):
                    steps = list(range(batch * POINTS, (batch + 1) * POINTS))
                    body = {"series": {key: {"steps": steps, "values": [float(step) for step in steps]}}}
                    answer = await http.post(f"/api/training/runs/{run}/metrics", json=body)
                    assert answer.status_code == 200, answer.text
                    line = {"message": f"{key} {batch}"}
                    assert (await http.post(f"/api/training/runs/{run}/logs", json=line)).status_code == 200

            await asyncio.gather(write(here, "a"), write(there, "b"))
            await here.post(f"/api/training/runs/{run}/finish", json={"status": "completed"})
        await asyncio.wait(following, timeout=30)
    return metrics, logs


async def _predict_at_its_own_server(first: Server, second: Server) -> None:
    await first.rest("POST", "/api/models", json={"name": "m"})
    data = {"architecture": json.dumps(linear())}
    await first.rest("POST", "/api/models/m/versions", files={"file": ("w.safetensors", weights_file())}, data=data)
    deploy = "/api/models/m/versions/1/deploy"
    deployed = await first.rest("POST", deploy, params={"wait": "60"}, json={"endpoint": "e"})
    assert deployed["status"] == "running"
    body = {"inputs": [[1, 2, 3, 4]]}
    here = await first.rest("POST", "/api/inference/predict/e", json=body)
    assert here["outputs"] == [[2, 4, 6, 8]]
    host = (first.data / "host").read_text().strip()
    async with second.http() as http:
        there = await http.post("/api/inference/predict/e", json=body)
        assert there.status_code == 503, there.text
        assert there.json()["error"]["code"] == "UNAVAILABLE"
        assert host in there.json()["error"]["message"]
        shown = await http.get("/api/inference/endpoints/e")
        assert shown.json()["status"] == "running"
    with pytest.raises(RefusedError) as refused:
        await second.graphql('{ predict(endpoint: "e", inputs: [[1, 2, 3, 4]]) { outputs } }')
    assert refused.value.code == "UNAVAILABLE"
    assert host in refused.value.errors[0]["message"]
