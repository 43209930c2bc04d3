"""Every command and snippet of the README and every example, run as a reader would run them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import httpx
import pytest
from gql import Client, GraphQLRequest
from gql.transport.websockets import WebsocketsTransport

from tests.support.product import Product

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def environment(product: Product) -> dict[str, str]:
    return {**os.environ, "AXONML_URL": product.url, "AXONML_API_KEY": product.key, "COLUMNS": "120"}


async def run(*command: str, env: dict[str, str], limit: float = 120) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(limit):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    text = output.decode()
    assert process.returncode == 0, text
    return text


async def test_the_snippets_from_key_to_prediction(product: Product) -> None:
    key_mutation, query, subscription = blocks("graphql")
    training, prediction = blocks("python")

    made = await product.graphql(key_mutation)
    product.key = made["apiKeyCreate"]["secret"]
    await run(sys.executable, "-c", training, env=environment(product))

    answer = await product.graphql(query, token=product.key)
    (first,) = answer["runs"]["nodes"]
    assert (first["name"], first["status"]) == ("first", "COMPLETED")
    assert first["series"][0]["steps"] == list(range(100))

    transport = WebsocketsTransport(
        url=product.socket_url,
        init_payload={"Authorization": f"Bearer {product.key}"},
        subprotocols=["graphql-transport-ws"],
    )
    seen: list[int] = []
    async with Client(transport=transport) as session:
        async for message in session.subscribe(GraphQLRequest(subscription, variable_values={"run": first["id"]})):
            seen += [step for series in message["runMetrics"]["series"] for step in series["steps"]]
    assert seen == list(range(100))

    await run(sys.executable, "examples/train_digits.py", "--epochs", "2", env=environment(product))
    post = training.split("run = post")[0]
    printed = await run(sys.executable, "-c", post + prediction, env=environment(product))
    assert re.fullmatch(r"\[\[(-?[\d.e-]+(, )?){10}\]\] 1 [\d.]+\n", printed), printed


async def test_the_examples_tell_the_truth(product: Product) -> None:
    trained = await run(sys.executable, "examples/train_digits.py", "--epochs", "4", env=environment(product))
    local, served = re.findall(r"local (0\.\d+)  served (0\.\d+)", trained)[0]
    assert local == served
    assert float(local) > 0.8
    (run_id,) = re.findall(r"run_[0-9a-f]{32}", trained)
    watched = await run(sys.executable, "examples/watch_run.py", run_id, "--keys", "loss", env=environment(product))
    assert "loss: 88 points" in watched
    assert "ended: COMPLETED" in watched
    asked = await run(sys.executable, "examples/query_everything.py", env=environment(product))
    assert '"servable": true' in asked


def test_the_two_commands_are_those_of_the_readme() -> None:
    (commands,) = blocks("bash")
    assert [line.split("#")[0].strip() for line in commands.splitlines()] == ["make run", "make demo"]


async def test_make_run_prints_where_to_go_and_stops_when_asked() -> None:
    with tempfile.TemporaryDirectory(prefix="axonml-") as folder:
        Path(folder).chmod(0o711)
        env = {name: value for name, value in os.environ.items() if not name.startswith("AXONML_")}
        process = await asyncio.create_subprocess_exec(
            "make", "run", "PORT=0", f"ARGS=--data-dir {folder}/data",
            cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            async with asyncio.timeout(90):
                text = ""
                while "Set up" not in text:
                    line = await process.stdout.readline()
                    assert line, text
                    text += line.decode()
            assert re.search(r"GraphiQL +http://127\.0\.0\.1:\d+/graphql\n", text)
            url, token = re.findall(r"Set up +(\S+)/setup#(\S+)", text)[0]
            async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
                ready = await http.get("/health/ready")
                assert ready.json()["status"] == "ready"
                account = {"token": token, "email": "ada@example.com", "password": "violet-otter-7-canoe-drift"}
                assert (await http.post("/api/auth/setup", json=account)).status_code == httpx.codes.CREATED
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            async with asyncio.timeout(60):
                await process.communicate()


@pytest.mark.timeout(240)
async def test_make_demo_tells_the_whole_story() -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AXONML_")}
    told = await run("make", "demo", env=env, limit=200)
    for part in ("accuracy  local", "ended: COMPLETED", "digits v1 on digits", "done"):
        assert part in told
