"""The commands on the database that comes with the server: beside it while it runs, and without it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.support.servers import REPOSITORY, Server, server, until


async def command(served: Server, *words: str) -> tuple[int, str]:
    """Exit status and what was printed."""
    kept = {key: text for key, text in os.environ.items() if not key.startswith(("AXONML_", "JWT_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server.cli",
        *words,
        "--data-dir",
        str(served.data),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**kept, **served.environment},
        cwd=REPOSITORY,
    )
    printed, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, printed.decode()


async def test_beside_a_running_server_and_without_it(folder: Path) -> None:
    async with server(folder) as served:
        served.key = served.token  # the log is for people, not for keys

        async def sealed() -> bool:
            found = await served.graphql("{ auditEvents { nodes { action } } }")
            return {node["action"] for node in found["auditEvents"]["nodes"]} >= {"authSetup", "apiKeyCreate"}

        await until(sealed, "the rows of the audit log were not chained")
        code, printed = await command(served, "audit", "verify")
        assert code == 0, printed
        code, printed = await command(served, "secrets", "rotate")
        assert (code, "stop the server first" in printed) == (1, True)

        assert await served.terminate() == 0
        code, printed = await command(served, "secrets", "rotate")
        assert code == 0, printed
        assert not list((served.data / "postgres").glob("*/postmaster.pid"))
        await served.start()
        assert (await served.graphql("{ viewer { email } }"))["viewer"]["email"]
