"""Several web workers of one server: one product to whoever uses it, whichever worker answers and whatever dies."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import stat
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import httpx
import psutil

from tests.e2e.test_kill import Script, check_exact, progress
from tests.support.models import linear
from tests.support.registry import weights_file
from tests.support.servers import Server, alive, free_port, server, until
from tests.support.watching import METRICS, Watch

TWO = {"AXONML_SERVER__WORKERS": "2"}
PROGRAM = "server.workers.program"
PREDICT = "/api/inference/predict/e"
ROW = {"inputs": [[1, 2, 3, 4]]}


@asynccontextmanager
async def served_by_two(folder: Path, database_url: str | None, *, admin: bool = True) -> AsyncIterator[Server]:
    """A server with two workers, both of which serve."""
    shared = {} if database_url is None else {"AXONML_DATABASE_URL": database_url}
    async with server(folder, admin=admin, environment={**TWO, **shared}) as served:
        await until(lambda: "is running" in served.printed, "not every worker came to serve")
        yield served


def workers(served: Server) -> list[psutil.Process]:
    return served.children(PROGRAM)


@contextmanager
def only(chosen: psutil.Process, served: Server) -> Iterator[None]:
    """New connections meet this worker, because the others are frozen."""
    others = [one for one in workers(served) if one.pid != chosen.pid]
    for other in others:
        other.suspend()
    try:
        yield
    finally:
        for other in others:
            other.resume()


@asynccontextmanager
async def through(chosen: psutil.Process, served: Server) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose one connection is with this worker, as the log confirms."""
    limits = httpx.Limits(max_connections=1, keepalive_expiry=600)
    async with served.http(limits=limits) as http:
        with only(chosen, served):
            shown = await http.get("/api/auth/me")
            assert shown.status_code == 200, shown.text
        assert answered_by(served, shown) == chosen.pid
        yield http


def answered_by(served: Server, answer: httpx.Response) -> int:
    """The worker that answered a request, from the log; answers do not tell."""
    request = answer.headers["x-request-id"]
    # The line is written after the answer was sent.
    deadline = time.monotonic() + 10
    while not (found := [line for line in served.logged.splitlines() if request in line and '"status"' in line]):
        assert time.monotonic() < deadline, f"no line of the request {request}"
        time.sleep(0.02)
    (line,) = map(json.loads, found)
    return int(line["worker"])


async def restarted(served: Server, dead: psutil.Process) -> None:
    """Waits until there are two workers that serve, and not the dead one."""

    def two() -> bool:
        now = workers(served)
        return (
            len(now) == 2
            and dead.pid not in {one.pid for one in now}
            and all(f'{{"worker": {one.pid}, "event": "web worker serves"' in served.logged for one in now)
        )

    await until(two, "the worker was not started again")


async def test_what_one_worker_is_told_is_followed_live_through_the_other(folder: Path, database_url: str) -> None:
    async with served_by_two(folder, database_url) as served:
        one, two = workers(served)
        run = await served.run()
        watches = [Watch(served, METRICS, run) for _ in range(2)]
        async with asyncio.TaskGroup() as group, through(one, served) as first, through(two, served) as second:
            for chosen, watch in zip((one, two), watches, strict=True):
                with only(chosen, served):
                    group.create_task(watch.follow())
                    await until(lambda watch=watch: watch.messages > 0, "no subscription")  # type: ignore[misc]  # bound now
            for step in range(60):
                body = {"loss": step / 2, "step": step}
                writer = first if step % 2 else second
                answer = await writer.post(f"/api/training/runs/{run}/metrics", json=body)
                assert answer.status_code == 200, answer.text
            assert {answered_by(served, await each.get("/api/auth/me")) for each in (first, second)} == {
                one.pid,
                two.pid,
            }
            await first.post(f"/api/training/runs/{run}/finish", json={"status": "completed"})
        for watch in watches:
            assert watch.points("loss") == [(step, step / 2) for step in range(60)]
            assert (watch.connections, watch.closed) == (1, [])


async def test_killed_workers_come_back_and_lose_and_repeat_nothing(folder: Path, database_url: str) -> None:
    async with served_by_two(folder, database_url) as served:
        scripts = [Script(served, await served.run(f"script {number}")) for number in range(4)]
        watches = [Watch(served, METRICS, script.run) for script in scripts for _ in range(2)]
        working = [asyncio.create_task(script.work()) for script in scripts]
        following = [asyncio.create_task(watch.follow()) for watch in watches]
        try:
            await progress(scripts, 10)
            await until(lambda: all(watch.messages for watch in watches), "a subscription did not begin")
            for _ in range(2):
                victim = workers(served)[0]
                victim.kill()
                await progress(scripts, 5)
                await restarted(served, victim)
                await progress(scripts, 5)
        finally:
            for script in scripts:
                script.stop = True
            await asyncio.wait(working)
        for script, task in zip(scripts, working, strict=True):
            task.result()
            assert set(script.statuses) == {200}, script.refusals
            await check_exact(script)
            await served.rest("POST", f"/api/training/runs/{script.run}/finish", json={"status": "completed"})
        async with asyncio.timeout(60):
            await asyncio.gather(*following)
        assert max(watch.connections for watch in watches) > 1, "nobody was cut off: the test shows nothing"
        for watch in watches:
            (script,) = [script for script in scripts if script.run == watch.run]
            assert watch.points("loss") == [(step, step * 0.5) for step in range(script.acknowledged * 50)]
        assert "was ended by SIGKILL" in served.logged


async def _predict(http: httpx.AsyncClient) -> tuple[int, object]:
    answer = await http.post(PREDICT, json=ROW)
    return answer.status_code, answer.json().get("outputs")


async def _version(served: Server, seed: int) -> None:
    data = {"architecture": json.dumps(linear())}
    files = {"file": ("w.safetensors", weights_file(seed))}
    await served.rest("POST", "/api/models/m/versions", files=files, data=data)


async def _deploy(served: Server, version: int, **body: object) -> None:
    path = f"/api/models/m/versions/{version}/deploy"
    deployed = await served.rest("POST", path, params={"wait": "60"}, json={"endpoint": "e", **body})
    assert deployed["status"] == "running", deployed


async def test_every_worker_predicts_through_swaps_and_deaths(folder: Path, database_url: str) -> None:
    async with served_by_two(folder, database_url) as served:
        await served.rest("POST", "/api/models", json={"name": "m"})
        await _version(served, 2)
        await _version(served, 3)
        await _deploy(served, 1)
        one, two = workers(served)
        async with through(one, served) as first, through(two, served) as second:
            both = (first, second)
            for http in both:
                await until(lambda http=http: _answers(http), "a worker does not predict")  # type: ignore[misc]  # bound now
                assert await _predict(http) == (200, [[2, 4, 6, 8]])
            await _swap_under_load(served, both)
            await _lose_the_replica(served, both)
            new = await _lose_a_worker(served, one)
            async with through(new, served) as third:
                assert await _predict(third) == (200, [[3, 6, 9, 12]])
            await _stop(served, second)


async def _answers(http: httpx.AsyncClient) -> bool:
    return (await _predict(http))[0] == 200


async def _swap_under_load(served: Server, both: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    over = asyncio.Event()
    seen: list[set[tuple[int, float]]] = []

    async def load(http: httpx.AsyncClient) -> None:
        mine: set[tuple[int, float]] = set()
        seen.append(mine)
        while not over.is_set():
            answer = await http.post(PREDICT, json=ROW)
            mine.add((answer.status_code, answer.json()["outputs"][0][0]))

    async with asyncio.TaskGroup() as group:
        for http in both:
            group.create_task(load(http))
        await until(lambda: len(seen) == 2 and all(seen), "nothing was predicted")
        await _deploy(served, 2)
        new = (200, 3.0)
        await until(lambda: all(new in mine for mine in seen), "a worker did not follow")
        over.set()
    for mine in seen:
        assert mine <= {(200, 2.0), new}


async def _lose_the_replica(served: Server, both: tuple[httpx.AsyncClient, httpx.AsyncClient]) -> None:
    (replica,) = [one for one in served.children("serving.forkserver")[0].children() if alive(one)]
    replica.kill()
    answers = await asyncio.gather(*(_predict(http) for http in both for _ in range(3)))
    assert answers == [(200, [[3, 6, 9, 12]])] * 6


async def _lose_a_worker(served: Server, victim: psutil.Process) -> psutil.Process:
    before = {one.pid for one in workers(served)}
    victim.kill()
    await restarted(served, victim)
    (new,) = [one for one in workers(served) if one.pid not in before]
    return new


async def _stop(served: Server, second: httpx.AsyncClient) -> None:
    stopped = await second.post("/api/inference/endpoints/e/stop", params={"wait": "30"}, timeout=60)
    assert stopped.json()["status"] == "stopped", stopped.text
    for worker in workers(served):
        async with through(worker, served) as http:
            assert (await _predict(http))[0] == 503
    assert served.children("serving.forkserver")[0].children() == []


async def test_a_change_whose_worker_died_before_it_told_anybody_is_carried_out(
    folder: Path, database_url: str
) -> None:
    async with served_by_two(folder, database_url) as served:
        await served.rest("POST", "/api/models", json={"name": "m"})
        await _version(served, 2)
        await _deploy(served, 1)
        # As if a worker had recorded it and been killed in the next moment.
        connection = await asyncpg.connect(database_url)
        await connection.execute("UPDATE endpoints SET status = 'draining', generation = generation + 1")
        await connection.close()
        await _lose_a_worker(served, workers(served)[0])

        async def stopped() -> bool:
            return bool((await served.rest("GET", "/api/inference/endpoints/e"))["status"] == "stopped")

        await until(stopped, "nobody looked")
        assert served.children("serving.forkserver")[0].children() == []


async def test_one_setup_link_a_private_control_socket_and_an_end_of_everything(folder: Path) -> None:
    async with served_by_two(folder, None, admin=False) as served:
        assert served.printed.count("/setup#") == 1
        path = served.data / "control.sock"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with socket.socket(socket.AF_UNIX) as stranger:
            stranger.settimeout(20)
            stranger.connect(str(path))
            assert await asyncio.to_thread(stranger.recv, 1) == b"", "only workers are told anything"
        family = served.family()
        assert len(workers(served)) == 2
        assert await served.terminate() == 0
        assert [one for one in family if alive(one)] == []
        assert not path.exists()
        assert "Traceback" not in served.logged
        assert "ended because" not in served.logged


async def test_a_stop_lets_what_is_in_flight_finish(folder: Path, database_url: str) -> None:
    async with served_by_two(folder, database_url) as served:
        run = await served.run()
        watch = Watch(served, METRICS, run)
        following = asyncio.create_task(watch.follow())
        await until(lambda: watch.messages > 0, "the subscription did not begin")
        gate, begun = asyncio.Event(), asyncio.Event()

        async def body() -> AsyncIterator[bytes]:
            yield b'{"loss": 1, '
            begun.set()
            await gate.wait()
            yield b'"step": 1}'

        async with served.http() as http:
            headers = {"content-type": "application/json"}
            posting = asyncio.create_task(
                http.post(f"/api/training/runs/{run}/metrics", content=body(), headers=headers)
            )
            await begun.wait()
            assert served.process is not None
            served.process.send_signal(signal.SIGTERM)
            await until(lambda: bool(watch.closed), "the subscriber was not told")
            gate.set()
            answer = await posting
        assert answer.status_code == 200, answer.text
        assert watch.closed[0] == 1012
        assert await served.ended() == 0
        following.cancel()
        await asyncio.wait([following])


async def test_a_killed_host_takes_workers_and_replicas_with_it_and_the_next_one_serves(
    folder: Path, database_url: str
) -> None:
    async with served_by_two(folder, database_url) as served:
        await served.rest("POST", "/api/models", json={"name": "m"})
        await _version(served, 2)
        await _deploy(served, 1)
        family = served.family()
        assert len(family) >= 4, "two workers, the forkserver and a replica"
        await served.kill()
        await until(lambda: not any(alive(one) for one in family), "something outlived its host")
        await served.start()
        async with served.http() as http:
            await until(lambda: _answers(http), "what was running does not run again")


async def test_a_stop_before_the_workers_serve_ends_them(folder: Path, database_url: str) -> None:
    made = Server(folder, "data", free_port(), {**TWO, "AXONML_DATABASE_URL": database_url})
    try:
        made.launch()
        await until(lambda: "web worker started" in made.logged, "no worker was started")
        family = made.family()
        assert await made.terminate() == 0
        assert [one for one in family if alive(one)] == []
        assert made.printed == ""
    finally:
        await asyncio.to_thread(made.clean_up)
