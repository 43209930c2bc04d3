"""A disk that fills up: refused in time, everything else goes on, and what stops all the same comes back by itself."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from persistence.postgres import BundledPostgres
from persistence.postgres.cluster import Layout, postmaster
from persistence.postgres.process import ServerProcess
from tests.support.product import RefusedError
from tests.support.servers import EMAIL, PASSWORD, Server, server, until

MIB = 1024 * 1024
DISK = 512 * MIB
CLIENTS = 8
POINTS = 1_000
LINES = 64
LENGTH = 8_000
NAME = "data"
BYTES = {"Content-Type": "application/octet-stream"}
LOG = """
    mutation ($run: ID!) {
        metricsLog(input: {runId: $run, points: [{key: "late", step: 1, value: 1}]}) { accepted }
    }
"""


@pytest.fixture
def disk(folder: Path) -> Iterator[Path]:
    """A small file system in memory, where a server named NAME keeps its data."""
    place = folder / NAME
    place.mkdir(mode=0o711)
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0711", "tmpfs", str(place)]
    try:
        subprocess.run(mounting, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems cannot be mounted here")
    try:
        yield place
    finally:
        for data in place.glob("postgres/pg[0-9]*"):
            found = postmaster(Layout(data.parent, int(data.name.removeprefix("pg"))))
            if found is not None:
                asyncio.run(ServerProcess(found.pid).stop(fast_limit=10))
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def free(disk: Path) -> int:
    state = os.statvfs(disk)
    return state.f_bavail * state.f_frsize


def fill(disk: Path, leave: int) -> Path:
    """A file that takes what is free but `leave` bytes."""
    filler = disk / "filler"
    with filler.open("wb") as file:
        while (more := free(disk) - leave) > 0:
            try:
                os.posix_fallocate(file.fileno(), file.tell(), more)
            except OSError:
                break  # somebody else took the rest
            file.seek(more, os.SEEK_CUR)
    return filler


def value(step: int) -> float:
    """Something that does not compress."""
    return (step * 2_654_435_761 % 2**32) / 7


def line(number: int) -> str:
    """A line that does not compress, either."""
    return hashlib.shake_128(number.to_bytes(8)).hexdigest(LENGTH // 2)


@dataclass
class Script:
    """A training script that logs until it is refused, and keeps count of what was acknowledged."""

    server: Server
    run: str
    acknowledged: int = 0
    logged: int = 0
    refusals: list[httpx.Response] = field(default_factory=list)

    async def flood(self) -> None:
        """Logs until it is refused because space is low, and not only because much came at once."""
        async with self.server.http() as http:
            told = ""
            while told != "low":
                for answer in (await self.send_points(http), await self.send_lines(http)):
                    if answer.status_code != 200:
                        self.refusals.append(answer)
                        told = (await http.get("/health/ready")).json()["space"]["database"]

    async def send_points(self, http: httpx.AsyncClient) -> httpx.Response:
        first = self.acknowledged * POINTS
        steps = list(range(first, first + POINTS))
        body = {"series": {"loss": {"steps": steps, "values": [value(step) for step in steps]}}}
        answer = await self._send(http, "metrics", self.acknowledged, body)
        self.acknowledged += answer.status_code == 200
        return answer

    async def send_lines(self, http: httpx.AsyncClient) -> httpx.Response:
        first = self.logged * LINES
        body = {"lines": [{"message": line(number)} for number in range(first, first + LINES)]}
        answer = await self._send(http, "logs", self.logged, body)
        self.logged += answer.status_code == 200
        return answer

    async def _send(self, http: httpx.AsyncClient, what: str, number: int, body: dict[str, Any]) -> httpx.Response:
        headers = {"Idempotency-Key": f"{what}-{number}"}
        return await http.post(f"/api/training/runs/{self.run}/{what}", json=body, headers=headers)

    async def accepted(self) -> bool:
        async with self.server.http() as http:
            return (await self.send_points(http)).status_code == 200

    async def check(self) -> None:
        """Every acknowledged point and line is there, and no other."""
        async with self.server.http() as http:
            exported = await http.get(f"/api/training/runs/{self.run}/metrics", params={"format": "ndjson"})
            points = [json.loads(point) for point in exported.text.splitlines()]
            assert [(point["step"], point["value"]) for point in points] == [
                (step, value(step)) for step in range(self.acknowledged * POINTS)
            ]
            lines: list[str] = []
            params: dict[str, str] | None = {"limit": "1000"}
            while params is not None:
                page = (await http.get(f"/api/training/runs/{self.run}/logs", params=params)).json()
                lines += [one["message"] for one in page["items"]]
                params = {"limit": "1000", "cursor": page["next_cursor"]} if page["next_cursor"] else None
        assert lines == [line(number) for number in range(self.logged * LINES)]


async def scripts_on(served: Server) -> list[Script]:
    return [Script(served, await served.run(f"script {number}")) for number in range(CLIENTS)]


async def space(served: Server) -> dict[str, str]:
    ready = await served.rest("GET", "/health/ready")
    assert ready["status"] == "ready"
    return dict(ready["space"])


async def put_by(disk: Path) -> None:
    await until((disk / "postgres" / "reserve").exists, "no space was put by")


def log_of_postgres(disk: Path) -> str:
    return "".join(file.read_text(errors="replace") for file in (disk / "postgres" / "log").glob("*.log"))


async def test_writers_are_refused_in_time_and_a_purge_makes_room(folder: Path, disk: Path) -> None:
    async with server(folder, name=NAME) as served:
        await put_by(disk)
        postgres = served.postmaster().pid
        scripts = await scripts_on(served)
        model = (await served.rest("POST", "/api/models", json={"name": "digits"}))["id"]
        assert await space(served) == {"database": "ok", "files": "ok"}
        fill(disk, 140 * MIB)
        await asyncio.gather(*(script.flood() for script in scripts))

        # Refused in words that help, whichever way.
        for script in scripts:
            assert script.acknowledged > 0
            for refused in script.refusals:
                assert refused.status_code == 503
                assert refused.json()["error"]["code"] == "UNAVAILABLE"
                assert "disk space" in refused.json()["error"]["message"]
                assert int(refused.headers["retry-after"]) >= 1
        assert "disk space is low" in served.logged
        with pytest.raises(RefusedError) as caught:
            await served.graphql(LOG, run=scripts[0].run)
        assert caught.value.code == "UNAVAILABLE"
        async with served.http() as http:
            for path, body in _GROWING.items():
                answer = await http.post(path.format(run=scripts[0].run), json=body)
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "UNAVAILABLE"), path

        # Reading, signing in and ending go on.
        async with served.http() as http:
            signed = await http.post("/api/auth/login", json={"email": EMAIL, "password": PASSWORD})
            assert signed.status_code == 200
            drawn = await http.get(f"/api/training/runs/{scripts[0].run}/metrics", params={"points": 100})
            assert drawn.json()["series"]["loss"]["count"] == scripts[0].acknowledged * POINTS

        # So do deleting and purging, after which there is room, although no file became smaller.
        gone, kept = scripts[: CLIENTS // 2], scripts[CLIENTS // 2 :]
        for script in gone:
            await served.rest("POST", f"/api/training/runs/{script.run}/finish", json={"status": "completed"})
            await served.graphql("mutation ($id: ID!) { runDelete(input: {id: $id}) { id } }", id=script.run)
            await served.graphql("mutation ($id: ID!) { runPurge(input: {id: $id}) { id } }", id=script.run)
        await until(lambda: _database_is(served, "ok"), "the purge made no room")
        async with served.http() as http:
            for script in kept:
                assert (await script.send_points(http)).status_code == 200
                assert (await script.send_lines(http)).status_code == 200
                await script.check()
            # Files need room on the disk itself.
            upload = await http.post(f"/api/models/{model}/versions", content=b"x", headers=BYTES)
            assert (upload.status_code, upload.json()["error"]["code"]) == (503, "UNAVAILABLE")

        assert served.postmaster().pid == postgres
        assert "PANIC" not in log_of_postgres(disk)


async def test_a_database_that_stopped_for_want_of_space_comes_back_by_the_reserve(folder: Path, disk: Path) -> None:
    async with server(folder, name=NAME) as served:
        await put_by(disk)
        script = Script(served, await served.run())
        assert await script.accepted()
        stopped = served.postmaster().pid
        filler = fill(disk, 0)
        await _write_until_it_stops(disk)

        await until(lambda: "put by for PostgreSQL's recovery is given up" in served.logged, "the reserve was kept")
        await served.ready()
        assert served.postmaster().pid != stopped
        await until(lambda: _database_is(served, "low"), "the full disk was not noticed")
        assert not await script.accepted()
        await script.check()

        filler.unlink()
        await until(script.accepted, "the server did not take metrics again")
        await put_by(disk)
        await script.check()


async def _database_is(served: Server, wanted: str) -> bool:
    return (await space(served))["database"] == wanted


async def _write_until_it_stops(disk: Path) -> None:
    """Takes new segments of PostgreSQL's log, as any write may have to, until there is no room for one."""
    adopted = BundledPostgres(disk / "postgres")
    await adopted.start()
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        connection = await asyncpg.connect(adopted.superuser_dsn)
        for _ in range(1_000):
            await connection.execute("SELECT pg_logical_emit_message(false, 'test', 'x'), pg_switch_wal()")
    await until(lambda: not adopted.running, "PostgreSQL did not stop on a full disk")


_GROWING: dict[str, dict[str, Any]] = {
    "/api/training/runs": {"name": "one more"},
    "/api/training/runs/{run}/logs": {"lines": [{"message": "one more"}]},
    "/api/models": {"name": "one-more"},
}
