"""`axonml-server admin` beside a server that runs on its bundled PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import httpx

from tests.e2e.test_process import EMAIL, PASSWORD, WAIT, eventually, running, tmp_path

__all__ = ["tmp_path"]


def admin(folder: Path, *arguments: str, said: str | None = None) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AXONML_", "JWT_", "RUST_"))}
    return subprocess.run(
        [sys.executable, "-m", "server.cli", "admin", *arguments, "--data-dir", str(folder / "data")],
        input=said,
        capture_output=True,
        text=True,
        timeout=WAIT,
        env=kept,
        cwd=Path(__file__).parents[2],
        check=False,
    )


def test_accounts_are_managed_while_the_server_runs(tmp_path: Path) -> None:  # the fixture
    refused = admin(tmp_path, "unlock", EMAIL)
    assert refused.returncode == 1
    assert "there is no data directory" in refused.stderr
    with running(tmp_path, "--data-dir", str(tmp_path / "data")) as server:
        made = admin(tmp_path, "create", EMAIL, said=f"{PASSWORD}\n")
        assert (made.returncode, made.stderr) == (0, ""), made.stderr
        answer = httpx.post(f"{server.url}/api/auth/login", json={"email": EMAIL, "password": PASSWORD}, timeout=WAIT)
        bearer = {"Authorization": f"Bearer {answer.json()['token']}"}
        assert httpx.get(f"{server.url}/api/auth/me", headers=bearer).status_code == 200
        ended = admin(tmp_path, "sessions", EMAIL, "--end")
        assert ended.stdout.startswith("ses_")
        eventually(
            lambda: httpx.get(f"{server.url}/api/auth/me", headers=bearer).status_code == 401,
            "the server went on with a session that was ended",
        )
        assert server.stop() == 0
