"""The client file that users copy: whatever happens to the server or to the script, what was logged arrives once."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.product import Product
from tests.support.servers import REPOSITORY, server, until

EXAMPLES = REPOSITORY / "examples"

# Logs as many steps as each line of its input says, in order, and ends the run at the end of its input.
DRIVEN = """
import os, sys
import axonml_client as axonml
run = axonml.init(name="driven", params={"lr": 0.1}, wait=1.0)
step = 0
for line in sys.stdin:
    for _ in range(int(line)):
        run.log({"loss": step * 0.5}, step=step)
        step += 1
    run.log_text(f"line {step}")
    print("logged", step, flush=True)
print("done", run.finish(timeout=60), run.id, flush=True)
"""
REPLAY = "import axonml_client as axonml; print('left', axonml.replay(patience=20), flush=True)"


@dataclass
class Script:
    """A training script in a process of its own."""

    process: Process

    async def line(self) -> list[str]:
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().split()

    async def log(self, steps: int) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n".encode())
        assert (await self.line())[0] == "logged"

    async def end(self) -> list[str]:
        assert self.process.stdin is not None
        self.process.stdin.close()
        return await self.line()

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def script(text: str, url: str, key: str, spool: Path) -> AsyncIterator[Script]:
    """A running script. It is killed at the end if it has not ended."""
    mine = {"AXONML_URL": url, "AXONML_API_KEY": key, "AXONML_SPOOL": str(spool), "PYTHONPATH": str(EXAMPLES)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", text, stdin=PIPE, stdout=PIPE, env={**os.environ, **mine}
    )
    try:
        yield Script(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def printed(text: str, url: str, key: str, spool: Path) -> list[str]:
    """What a script that ends by itself printed, word by word."""
    async with script(text, url, key, spool) as running:
        out, _ = await running.process.communicate()
        assert running.process.returncode == 0
        return out.decode().split()


@dataclass
class Wire:
    """A proxy in front of the server that may refuse connections, or cut answers off after the request went through."""

    port: int
    away: bool = False
    cut_every: int = 0
    refusal: bytes = b""
    requests: list[bytes] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)
    cut: int = 0
    _listener: asyncio.Server | None = None

    @property
    def url(self) -> str:
        assert self._listener is not None
        return f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.away:
                return
            request = await self._request(reader)
            self.requests.append(request)
            self.moments.append(asyncio.get_running_loop().time())
            if self.refusal:
                writer.write(self.refusal)
                return
            number = len(self.requests)
            answers, upstream = await asyncio.open_connection("127.0.0.1", self.port)
            upstream.write(request)
            answer = await answers.read()
            upstream.close()
            if self.cut_every and number % self.cut_every == 0:
                self.cut += 1
                return
            writer.write(answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        return head + await reader.readexactly(length)


@asynccontextmanager
async def wire(url: str, **how: Any) -> AsyncIterator[Wire]:
    made = Wire(int(url.rpartition(":")[2]), **how)
    made._listener = await asyncio.start_server(made.serve, "127.0.0.1", 0, limit=2**24)
    async with made._listener:
        yield made


async def points(http: Any, run: str, key: str = "loss") -> list[tuple[int, Any]]:
    exported = await http.get(f"/api/training/runs/{run}/metrics", params={"format": "ndjson", "keys": key})
    assert exported.status_code == 200, exported.text
    return [(point["step"], point["value"]) for point in map(json.loads, exported.text.splitlines())]


def halves(steps: int) -> list[tuple[int, float]]:
    return [(step, step * 0.5) for step in range(steps)]


def spooled(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("*.jsonl"))


async def the_run(http: Any) -> dict[str, Any]:
    """The only run there is."""
    (run,) = (await http.get("/api/training/runs")).json()["items"]
    return dict(run)


async def test_a_server_that_restarts_in_the_middle_misses_nothing(folder: Path, database_url: str) -> None:
    spool = folder / "spool"
    async with (
        server(folder, environment={"AXONML_DATABASE_URL": database_url}) as served,
        script(DRIVEN, served.url, served.key, spool) as running,
        served.http() as http,
    ):
        await running.log(500)

        async def arrived() -> bool:
            return bool((await http.get("/api/training/runs")).json()["items"][0]["metrics"])

        await until(arrived, "nothing arrived")
        assert await served.terminate() == 0
        await running.log(700)
        await until(lambda: '"metrics"' in spooled(spool), "nothing went to disk")
        await running.log(800)
        await served.start()
        await running.log(9)
        done = await running.end()
        assert done[:2] == ["done", "True"]
        assert await points(http, done[2]) == halves(2009)
        run = await the_run(http)
        assert (run["id"], run["status"], run["params"]) == (done[2], "completed", {"lr": 0.1})
        lines = (await http.get(f"/api/training/runs/{done[2]}/logs")).json()["items"]
        assert [line["message"] for line in lines] == [f"line {step}" for step in (500, 1200, 2000, 2009)]
        assert not list(spool.iterdir()), "what was delivered is deleted"


async def test_a_script_killed_before_its_replay_loses_nothing_of_what_was_on_disk(
    product: Product, folder: Path
) -> None:
    spool = folder / "spool"
    async with wire(product.url, away=True) as between:
        async with script(DRIVEN, between.url, product.key, spool) as running:
            await running.log(1500)
            await until(lambda: '"message":"line 1500"' in spooled(spool), "nothing went to disk")
            await running.kill()
        assert product.key not in spooled(spool)
        assert {path.stat().st_mode & 0o777 for path in (spool, *spool.iterdir())} == {0o700, 0o600}

        # A replay whose answers are lost, and which is killed as well; then one that ends.
        between.away, between.cut_every = False, 1
        async with script(REPLAY, between.url, product.key, spool) as running:
            await until(lambda: between.cut >= 2, "nothing was sent")
            await running.kill()
        between.cut_every = 2
        assert await printed(REPLAY, between.url, product.key, spool) == ["left", "0"]
    run = await the_run(product_http := KeyedHttp(product))
    assert (run["status"], run["name"]) == ("running", "driven")
    assert await points(product_http, run["id"]) == halves(1500)
    assert not list(spool.iterdir())


@dataclass
class KeyedHttp:
    """The product's client as the administrator."""

    product: Product

    async def get(self, path: str, **options: Any) -> Any:
        return await self.product.rest("GET", path, **options)


async def test_the_next_script_sends_what_the_last_one_left(product: Product, folder: Path) -> None:
    spool = folder / "spool"
    async with wire(product.url, away=True) as between:
        async with script(DRIVEN, between.url, product.key, spool) as running:
            await running.log(100)
            await until(lambda: '"metrics"' in spooled(spool), "nothing went to disk")
            await running.kill()
        between.away = False
        async with script(DRIVEN, between.url, product.key, spool) as running:
            await until(lambda: '"metrics"' not in spooled(spool), "nothing was replayed")
            assert (await running.end())[1] == "True"
    runs = (await product.rest("GET", "/api/training/runs")).json()["items"]
    assert sorted((run["status"], run["metrics"].get("loss")) for run in runs) == [
        ("completed", None),
        ("running", 49.5),
    ]


TOLD = f"""
import logging
told = []
logging.getLogger("axonml").addFilter(lambda record: told.append(record) or False)
{DRIVEN}
print("told", len(told), flush=True)
"""


async def test_lost_answers_repeat_nothing_and_are_told_once(product: Product, folder: Path) -> None:
    async with wire(product.url, cut_every=2) as between:
        async with script(TOLD, between.url, product.key, folder / "spool") as running:
            for _ in range(10):
                await running.log(400)
            done = await running.end()
            assert await running.line() == ["told", "1"]
        assert done[:2] == ["done", "True"]
        assert between.cut >= 3
    http = KeyedHttp(product)
    assert (await the_run(http))["status"] == "completed"
    assert await points(http, done[2]) == halves(4000)
    assert len((await http.get(f"/api/training/runs/{done[2]}/logs")).json()["items"]) == 10


TIGHT = """
import time
import axonml_client as axonml
run = axonml.init(name="tight")
clock, took = time.perf_counter_ns, []
for step in range(100_000):
    begun = clock()
    run.log({"loss": step * 0.5}, step=step)
    took.append(clock() - begun)
took.sort()
print(took[50_000] / 1000, took[99_000] / 1000, sum(took) / 1e9, run.finish(timeout=120), run.id)
"""


async def test_a_hundred_thousand_points_in_a_tight_loop(product: Product, folder: Path) -> None:
    median, most, seconds, sent, run = await printed(TIGHT, product.url, product.key, folder / "spool")
    assert float(median) < 20, "microseconds of the usual call"
    assert float(most) < 200, "microseconds of all but one call in a hundred"
    assert float(seconds) < 10
    assert sent == "True"
    assert await points(KeyedHttp(product), run) == halves(100_000)


STOPPED = """
import sys
import axonml_client as axonml
with axonml.init(name="stoppable", raise_on_stop=RAISES) as run:
    print(run.id, flush=True)
    step = 0
    while not run.should_stop or RAISES:
        run.log({"loss": 0.5}, step=step)
        run.flush()
        step += 1
print("after", flush=True)
"""


@pytest.mark.parametrize("raises", [False, True])
async def test_a_remote_stop_reaches_the_script(product: Product, folder: Path, raises: bool) -> None:
    text = STOPPED.replace("RAISES", str(raises))
    async with script(text, product.url, product.key, folder / "spool") as running:
        (run,) = await running.line()
        await product.rest("POST", f"/api/training/runs/{run}/stop")
        assert await running.line() == ["after"]
    shown = (await product.rest("GET", f"/api/training/runs/{run}")).json()
    assert shown["status"] == "stopped"


FAILS = """
import axonml_client as axonml
with axonml.init(name="fails", config={"path": axonml.Path("/x"), "nan": float("nan")}) as run:
    print(run.id, flush=True)
    run.log({"loss": 0.5})
    raise ValueError("no data")
"""


async def test_an_exception_marks_the_run_failed(product: Product, folder: Path) -> None:
    async with script(FAILS, product.url, product.key, folder / "spool") as running:
        (run,) = await running.line()
        assert await running.process.wait() == 1, "the exception goes on"
    shown = (await product.rest("GET", f"/api/training/runs/{run}")).json()
    assert (shown["status"], shown["failure"]) == ("failed", "ValueError: no data")
    assert shown["config"] == {"path": "/x", "nan": "NaN"}
    assert shown["metrics"] == {"loss": 0.5}


ODD = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
import axonml_client as axonml
run = axonml.init(name="odd", params={"lr": 1})
run.log({"loss": float("nan"), "up": float("inf"), "text": "0.5", "none": None, "tab\\tbed": 1.0})
run.log({"count": 3, "ok": True}, step=0)
run.log({"loss": 2.0, "step": 7, "text": "0.7"})
run.log({"loss": 3.0}, step=2**70)
run.log({"loss": 4.0}, step="x")
run.log_params({"lr": 2, "momentum": 0.9})
run.set_tags({"stage": "qa"})
run.finish()
run.log({"loss": 5.0})
run.finish()
print(run.id)
"""


async def test_what_cannot_be_logged_is_told_once_and_costs_nothing_else(product: Product, folder: Path) -> None:
    words = await printed(ODD, product.url, product.key, folder / "spool")
    run, told = words[-1], " ".join(words)
    shown = (await product.rest("GET", f"/api/training/runs/{run}")).json()
    assert shown["metrics"] == {"loss": 4.0, "up": "Infinity", "count": 3.0, "ok": 1.0}
    assert (shown["params"], shown["tags"]) == ({"lr": 1, "momentum": 0.9}, {"stage": "qa"})
    found = await points(KeyedHttp(product), run)
    assert found == [(0, "NaN"), (7, 2.0), (8, 3.0), (9, 4.0)]
    assert told.count("'text' is not logged") == 1
    assert told.count("refuses params") == 1
    assert told.count("after its end") == 1
    assert product.key not in told


AWAY = """
import axonml_client as axonml
axonml.MEMORY_BATCHES, axonml.BATCH_VALUES = 2, 100
run = axonml.init(name="away", wait=1.0)
for number in range(5000):
    run.log({"loss": number * 0.5})
print(run.finish(timeout=0.2), run.id)
"""


async def test_what_outgrows_memory_keeps_its_order_on_disk(product: Product, folder: Path) -> None:
    spool = folder / "spool"
    async with wire(product.url, away=True) as between:
        assert await printed(AWAY, between.url, product.key, spool) == ["False", "None"]
        between.away = False
        assert await printed(REPLAY, between.url, product.key, spool) == ["left", "0"]
    run = await the_run(KeyedHttp(product))
    assert run["status"] == "completed"
    assert await points(KeyedHttp(product), run["id"]) == halves(5000)


FORKS = """
import multiprocessing, os
import axonml_client as axonml
run = axonml.init(name="forks")
run.log({"parent": 1.0}, step=0)
def work():
    run.log({"child": 2.0}, step=0)
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
run.log({"parent": 3.0}, step=1)
print(child.exitcode, run.finish(), run.id)
"""


async def test_a_forked_child_logs_to_the_same_run(product: Product, folder: Path) -> None:
    code, sent, run = await printed(FORKS, product.url, product.key, folder / "spool")
    assert (code, sent) == ("0", "True")
    http = KeyedHttp(product)
    assert await points(http, run, "parent") == [(0, 1.0), (1, 3.0)]
    assert await points(http, run, "child") == [(0, 2.0)]
    assert (await the_run(http))["status"] == "completed"


async def test_a_key_that_is_refused_loses_nothing(product: Product, folder: Path) -> None:
    spool = folder / "spool"
    text = DRIVEN.replace("timeout=60", "timeout=0.5")
    async with script(text, product.url, "axk_wrong", spool) as running:
        await running.log(50)
        assert (await running.end())[:2] == ["done", "False"]
    assert await printed(REPLAY, product.url, product.key, spool) == ["left", "0"]
    run = await the_run(KeyedHttp(product))
    assert await points(KeyedHttp(product), run["id"]) == halves(50)


IDLE = """
import axonml_client as axonml
axonml.BEAT_SECONDS = axonml.FLUSH_SECONDS = 0.05
with axonml.init(name="idle") as run:
    print(run.id, flush=True)
    run._stop.wait(60)
print("after", flush=True)
"""


async def test_a_script_that_logs_nothing_is_alive_and_hears_of_a_stop(product: Product, folder: Path) -> None:
    async with script(IDLE, product.url, product.key, folder / "spool") as running:
        (run,) = await running.line()
        lives = "query ($run: ID!) { run(id: $run) { lastActivityAt } }"
        before = await product.graphql(lives, run=run)

        async def beaten() -> bool:
            return await product.graphql(lives, run=run) != before

        await until(beaten, "no sign of life")
        await product.rest("POST", f"/api/training/runs/{run}/stop")
        assert await running.line() == ["after"]
    shown = (await product.rest("GET", f"/api/training/runs/{run}")).json()
    assert (shown["status"], shown["metrics"]) == ("stopped", {})


LOADED = """
import sys
import axonml_client as axonml
axonml.FLUSH_SECONDS = 0.05
run = axonml.init(name="loaded", system=0.05, wait=30)
print(run.id, flush=True)
for line in sys.stdin:
    run.log({"loss": 0.5})
    print("logged", flush=True)
print(run.finish(timeout=60), flush=True)
"""


async def test_a_script_logs_its_load_beside_its_metrics(product: Product, folder: Path) -> None:
    async def load() -> dict[str, Any]:
        read = await product.rest("GET", f"/api/training/runs/{run}/metrics", params={"stream": "system"})
        found: dict[str, Any] = read.json()["series"]
        return found

    async def enough() -> bool:
        found = await load()
        return len(found) == 4 and all(series["count"] >= 3 for series in found.values())

    async with script(LOADED, product.url, product.key, folder / "spool") as running:
        (run,) = await running.line()
        await running.log(1)
        await until(enough, "no load")
        await running.log(1)
        assert await running.end() == ["True"]
    found = await load()
    assert found.keys() == {
        "system/cpu_percent",
        "system/memory_used_bytes",
        "system/process_cpu_percent",
        "system/process_memory_bytes",
    }
    for series in found.values():
        assert series["steps"] == series["timestamps"] == sorted(series["steps"])
        assert min(series["values"]) >= 0
    assert max(found["system/cpu_percent"]["values"]) <= 100
    assert min(found["system/process_memory_bytes"]["values"]) > 2**20
    shown = (await product.rest("GET", f"/api/training/runs/{run}")).json()
    assert shown["metrics"] == {"loss": 0.5}
    assert await points(KeyedHttp(product), run) == [(0, 0.5), (1, 0.5)]


async def test_without_a_disk_memory_has_to_do(product: Product, folder: Path) -> None:
    (folder / "file").write_text("")
    async with script(DRIVEN, product.url, product.key, folder / "file" / "spool") as running:
        await running.log(300)
        done = await running.end()
    assert done[:2] == ["done", "True"]
    assert await points(KeyedHttp(product), done[2]) == halves(300)


BUSY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\n\r\n"
    b'{"error": {"code": "UNAVAILABLE", "message": "later", "field": null, "request_id": "r"}}'
)


async def test_a_server_that_says_when_is_asked_no_sooner(product: Product, folder: Path) -> None:
    async with (
        wire(product.url, refusal=BUSY) as between,
        script(DRIVEN, between.url, product.key, folder / "spool") as running,
    ):
        await running.log(10)
        await until(lambda: len(between.moments) >= 3, "it was not tried again")
        first, second, third = between.moments[:3]
        assert min(second - first, third - second) >= 1.0
        between.refusal = b""
        done = await running.end()
    assert done[:2] == ["done", "True"]
    assert await points(KeyedHttp(product), done[2]) == halves(10)
