"""The processes behind `LocalServing`: none too many, none left behind, none with what it must not have."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import uvloop

from domain.errors import Unavailable
from domain.serving import (
    NotServing,
    ServingBackend,
)
from serving.pool import LocalServing
from tests.support.serving import END, V1, V2, ask, pids, row, scaling, slow


async def test_nothing_runs_before_the_first_deployment(tmp_path: Path) -> None:
    async with LocalServing(tmp_path / "run") as serving:
        backend: ServingBackend = serving
        assert backend.status(END) == ()
        with pytest.raises(NotServing):
            await backend.predict(END, V1, row(1))
        await backend.retire(END, V1)
        assert serving.forkserver_pid is None


def serving_processes() -> list[psutil.Process]:
    """Forkservers and replicas below this process that still run; the test run's PostgreSQL may be there, too."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie has no command line any more
            if "serving.forkserver" in process.cmdline():
                found.append(process)
    return found


async def test_no_descriptor_or_process_is_left_behind(tmp_path: Path) -> None:
    me = psutil.Process()
    async with LocalServing(tmp_path / "run", available_cores=2) as serving:
        await serving.deploy(scaling(tmp_path, 2))
        before = me.num_fds()
        for i in range(10):
            await serving.deploy(scaling(tmp_path, 2, V2))
            await asyncio.gather(*(ask(serving, i, V2) for i in range(50)))
            if i % 3 == 0:
                os.kill(pids(serving)[0], signal.SIGKILL)
                await ask(serving, 1)
            await serving.retire(END, V2)
        assert me.num_fds() == before
        family = serving_processes()
        assert len(family) == 2  # forkserver and replica
    _gone, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


async def test_stop_ends_a_deployment_under_way(tmp_path: Path) -> None:
    serving = LocalServing(tmp_path / "run", available_cores=2)
    before = serving_processes()
    async with serving:
        await serving.deploy(scaling(tmp_path, 2))
        deploying = asyncio.create_task(serving.deploy(slow(tmp_path, V2)))
        await asyncio.sleep(0)
    with pytest.raises(Unavailable):
        await deploying
    with pytest.raises(Unavailable):
        await serving.deploy(scaling(tmp_path, 2))
    assert serving_processes() == before
    assert serving.forkserver_pid is None


async def test_long_paths_are_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-directory-with-a-rather-long-name"] * 5)
    deep.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as sock, pytest.raises(OSError, match="too long"):
        sock.bind(str(deep / "x.sock"))
    async with LocalServing(deep / "run") as serving:
        await serving.deploy(scaling(tmp_path, 2))
        assert (await ask(serving, 1)).outputs["y"][0, 0] == 2


def test_open_run_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(mode=0o755)

    async def enter() -> None:
        async with LocalServing(tmp_path / "run"):
            pass

    with pytest.raises(RuntimeError, match="0700"):
        asyncio.run(enter())


def wait_for_end(process: psutil.Process, seconds: float = 10.0) -> None:
    """Until it is gone, or a zombie that nobody has reaped yet."""
    limit = time.monotonic() + seconds
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < limit
        time.sleep(0.01)


DEAF = "import signal; [signal.signal(number, signal.SIG_IGN) for number in (1, 2, 15)]"
HOST = """
import asyncio, sys
from pathlib import Path
from domain.serving import ReplicaSet
from serving.pool import LocalServing
from tests.support.models import linear, saved

async def main():
    directory = Path(sys.argv[1])
    graph, path = saved(directory, linear())
    async with LocalServing(directory / "run", available_cores=2) as serving:
        await serving.deploy(ReplicaSet("end_1", "ver_1", str(path), graph, replicas=2))
        print(serving.forkserver_pid, *[r.pid for r in serving.status("end_1")[0].replicas], flush=True)
        assert "torch" not in sys.modules
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_children_end_with_their_host(tmp_path: Path, number: signal.Signals) -> None:
    """kill -9 of the host, also when the forkserver was stopped and so cannot help."""
    host = subprocess.Popen([sys.executable, "-c", HOST, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    children = [psutil.Process(int(pid)) for pid in host.stdout.readline().split()]
    assert len(children) == 3
    if number is signal.SIGSTOP:
        children[0].suspend()  # what it does not reap stays behind as zombies until it runs again
    host.kill()
    host.wait()
    host.stdout.close()
    for child in children[1:]:
        wait_for_end(child)
    if number is signal.SIGSTOP:
        children[0].resume()
    _gone, alive = psutil.wait_procs(children[:1], timeout=10)
    assert alive == []


def test_signals_to_the_group_leave_children_to_the_host(tmp_path: Path) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", DEAF + HOST, str(tmp_path)],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert host.stdout is not None
    children = [psutil.Process(int(pid)) for pid in host.stdout.readline().split()]
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.killpg(host.pid, number)
    _gone, alive = psutil.wait_procs(children, timeout=0.5)
    assert len(alive) == 3
    host.kill()
    host.wait()
    host.stdout.close()
    psutil.wait_procs(children, timeout=10)


def test_web_side_imports_no_torch_and_replica_side_no_web() -> None:
    def imported_with(*modules: str) -> set[str]:
        code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
        shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        return set(shown.stdout.split())

    assert not {"torch", "serving.replica"} & imported_with("serving.pool")
    web = {"starlette", "strawberry", "graphql", "uvicorn", "tortoise", "asyncpg", "server", "schema", "resolvers"}
    assert not web & imported_with("serving.forkserver", "serving.replica.process")


def test_it_runs_on_uvloop_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with LocalServing(tmp_path / "run", available_cores=2) as serving:
            await serving.deploy(scaling(tmp_path, 2))
            results = await asyncio.gather(*(ask(serving, i) for i in range(50)))
            assert [result.outputs["y"][0, 0] for result in results] == [2 * i for i in range(50)]
            os.kill(pids(serving)[0], signal.SIGKILL)
            assert (await ask(serving, 7)).outputs["y"][0, 0] == 14
            await serving.retire(END, V1)

    uvloop.run(scenario())
