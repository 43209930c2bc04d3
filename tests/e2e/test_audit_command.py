"""The commands on the database that comes with the server: beside it while it runs, and without it."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import httpx

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


async def scrubbed(served: Server) -> None:
    """The files of the registry are read beside the server, before and after a byte of one has changed."""
    async with httpx.AsyncClient(base_url=served.url, headers=served.headers) as http:
        await http.post("/api/models", json={"name": "m"})
        sent = await http.post("/api/models/m/versions", files={"file": ("w.bin", b"weights of a model")})
    sha256 = sent.json()["file"]["sha256"]
    code, printed = await command(served, "model", "scrub")
    assert (code, printed) == (0, "1 files, 18 bytes read; 0 missing or damaged.\n")
    (kept,) = served.data.glob(f"blobs/sha256/*/*/{sha256}")
    kept.chmod(0o600)
    kept.write_bytes(b"weights of a Model")
    code, printed = await command(served, "model", "scrub", "--rate", "0")
    assert (code, f"damaged {sha256}: " in printed, "needed by default/m version 1" in printed) == (1, True, True)


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
        await scrubbed(served)

        assert await served.terminate() == 0
        code, printed = await command(served, "secrets", "rotate")
        assert code == 0, printed
        assert not list((served.data / "postgres").glob("*/postmaster.pid"))
        await served.start()
        assert (await served.graphql("{ viewer { email } }"))["viewer"]["email"]
