"""The whole product in one minute: a server, a training run, a live chart, a served model, one nested request.

    make demo

Starts `axonml-server` on a free port with a data directory that is removed afterwards, sets up its first user, makes an
API key, trains with `train_digits.py` while `watch_run.py` follows the run live, and reads everything back with
`query_everything.py`. Stops what it started, also when interrupted.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
from rich.console import Console
from rich.rule import Rule

HERE = Path(__file__).parent
START_LIMIT_SECONDS = 120

console = Console()


def start(data: Path, log: Path) -> tuple[subprocess.Popen[bytes], str, str]:
    """A server on a free port: its process, its URL and the token of its setup link."""
    program = Path(sys.executable).with_name("axonml-server")
    with log.open("wb") as output:
        server = subprocess.Popen(
            [program, "--port", "0", "--data-dir", data],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=clean_environment(),
        )
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        text = log.read_text(errors="replace")
        link = re.search(r"(http://\S+?)/setup#(\S+)", text)
        if link:
            return server, link[1], link[2]
        time.sleep(0.1)
    stop(server)
    sys.exit(f"the server did not start:\n{log.read_text(errors='replace')}")


def clean_environment() -> dict[str, str]:
    """Our environment without settings of another server."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("AXONML_", "JWT_SECRET"))}


def stop(server: subprocess.Popen[bytes]) -> None:
    """Asks the server to shut down, and waits for it."""
    if server.poll() is None:
        server.send_signal(signal.SIGTERM)
        try:
            server.wait(timeout=60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def api_key(url: str, token: str) -> str:
    """Creates the first user and a key that may do what the example needs."""
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as api:
        account = {"token": token, "email": "ada@example.com", "password": secrets.token_urlsafe(18), "name": "Ada"}
        session = api.post("/api/auth/setup", json=account)
        session.raise_for_status()
        key = api.post(
            "/api/auth/keys",
            headers={"Authorization": f"Bearer {session.json()['token']}"},
            json={"name": "demo", "scopes": ["runs:write", "models:write", "endpoints:write", "endpoints:predict"]},
        )
        key.raise_for_status()
        return str(key.json()["secret"])


def newest_run(url: str, key: str) -> str:
    """Waits for the training script's run to appear."""
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False) as api:
        for _ in range(600):
            runs = api.post("/graphql", json={"query": "{ runs(first: 1) { nodes { id } } }"}).json()["data"]["runs"][
                "nodes"
            ]
            if runs:
                return str(runs[0]["id"])
            time.sleep(0.1)
    sys.exit("the training script created no run")


def main() -> None:
    """Tells the story in order."""
    folder = Path(tempfile.mkdtemp(prefix="axonml-demo-"))
    folder.chmod(0o711)  # as root the database runs under another account, which must reach its directory
    server = None
    try:
        console.print(Rule("a temporary server"))
        server, url, token = start(folder / "data", folder / "server.log")
        console.print(f"server    {url}")
        key = api_key(url, token)
        environment = {**clean_environment(), "AXONML_URL": url, "AXONML_API_KEY": key, "PYTHONUNBUFFERED": "1"}

        console.print(Rule("training, logged over plain HTTP"))
        training = subprocess.Popen([sys.executable, HERE / "train_digits.py"], env=environment)
        run = newest_run(url, key)
        watching = subprocess.Popen(
            [sys.executable, HERE / "watch_run.py", run, "--keys", "loss", "accuracy"],
            env={**environment, "COLUMNS": "120"},
            stdout=subprocess.PIPE,
        )
        trained = training.wait()
        chart, _ = watching.communicate(timeout=60)
        console.print(Rule("what the live subscription saw meanwhile"))
        sys.stdout.write(chart.decode())
        sys.stdout.flush()

        console.print(Rule("everything in one request"))
        asked = subprocess.run(
            [sys.executable, HERE / "query_everything.py"], env=environment, stdout=subprocess.PIPE, check=False
        )
        if asked.returncode == 0:
            experiment = json.loads(asked.stdout)["data"]["experiment"]
            for found in experiment["runs"]["nodes"]:
                versions = []
                for version in found["modelVersions"]["nodes"]:
                    endpoints = ", ".join(endpoint["name"] for endpoint in version["endpoints"]["nodes"])
                    versions.append(f"{version['model']['name']} v{version['version']} on {endpoints}")
                measured = ", ".join(f"{metric['key']} {metric['last']:.4f}" for metric in found["metrics"])
                console.print(f"{found['name']}: {found['status']}, {measured}; {'; '.join(versions)}")
        failed = trained or watching.returncode or asked.returncode
        console.print(Rule("failed" if failed else "done"))
        if failed:
            console.print((folder / "server.log").read_text(errors="replace"), markup=False)
            sys.exit(1)
    finally:
        if server is not None:
            stop(server)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
