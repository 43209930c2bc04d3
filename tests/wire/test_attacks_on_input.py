"""Input that means to be more than data: paths, code in filters, programs in files, pages in names, endless nesting."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any, Final

import pytest

from server.rest.route import JSON
from server.rest.routes import ROUTES
from tests.support.attacks import ENDPOINT, MODEL, World, state

TRAVERSAL: Final = (
    "..", "../..", "..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd", "%252e%252e%252fetc%252fpasswd",
    "..%5c..%5cboot.ini", "..;/..;/etc/passwd", "%c0%ae%c0%ae/etc/passwd", "..%ef%bc%8fetc%ef%bc%8fpasswd",
    "file:%2f%2f%2fetc%2fpasswd", "%2fetc%2fpasswd", "%2fproc%2fself%2fenviron", "a%00.png", "secret.key%00",
    "....//....//etc/passwd", "%2e%2e%2fsecret", "..%2fpostgres%2fdata", "~root", "C:%5cboot.ini", "%5c%5chost%5cshare",
)  # fmt: skip
CODE: Final = (
    "().__class__", "().__class__.__bases__[0].__subclasses__()", "__import__('os').system('id')", "run.__class__ = 1",
    "name = ().__class__", "name = f'{1}'", "lambda: 1", "exec('1')", "eval('1')",
    "[x for x in ()]", "name = 'x' or 1=1", "name = 'x'; drop table runs", "name = 'x' -- ", "name = 'x' /* */",
    "name = 'x' union select 1", "params.a) or (1 = 1", "true", "name = $1", "name = @@version", "{{7*7}}",
    "pg_sleep(9) = 1", "name.lower() = 'x'", "not_a_function(name) = 1", "name = 'x' and (select 1) = 1",
)  # fmt: skip
PAGES: Final = {
    "x.html": b"<script>alert(1)</script>",
    "x.svg": b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "x.js": b"alert(1)",
    "x.md": b"[x](javascript:alert(1))",
    "x.ipynb": b'{"cells": [{"outputs": [{"data": {"text/html": "<script>alert(1)</script>"}}]}]}',
    "x.xml": b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><x>&e;</x>',
}
SCRIPT: Final = "<script>alert(1)</script><img src=x onerror=alert(1)>"


async def test_no_address_leads_out_of_the_data(world: World) -> None:
    secret = next(path.read_bytes() for path in world.product.data.rglob("*") if path.is_file() and path.stat().st_size)
    for text in TRAVERSAL:
        for path in (
            f"/static/{text}",
            f"/graphql/static/{text}",
            f"/api/models/{text}",
            f"/api/models/{text}/versions/1/download",
            f"/api/models/{MODEL}/versions/{text}/download",
            f"/api/models/{MODEL}/versions/1/download/{text}",
            f"/api/training/runs/{text}/metrics",
        ):
            answer = await world.product.rest("GET", path)
            # Clients take `..` out of an address by themselves, so some of these lead to a list or to a page.
            assert answer.status_code in (200, 303, 400, 404, 405), (path, answer.text)
            assert b"root:" not in answer.content, path
            assert secret not in answer.content, path


@pytest.mark.parametrize("text", CODE)
async def test_filters_are_no_code(world: World, database_url: str, text: str) -> None:
    before = await state(database_url)
    answer = await world.product.rest("GET", "/api/training/runs", params={"filter": text})
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["field"] == "filter"
    asked = await world.ask("query ($f: String) { runs(filter: $f) { nodes { id } } }", world.product.headers, f=text)
    assert asked.json()["errors"][0]["extensions"] | {"requestId": ""} == {
        "code": "BAD_USER_INPUT", "field": "filter", "requestId": "",
    }  # fmt: skip
    assert await state(database_url) == before


class Canary:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
async def test_pickles_are_kept_and_never_loaded(world: World, tmp_path: Path, protocol: int) -> None:
    canary = tmp_path / "loaded"
    data = pickle.dumps(Canary(canary), protocol=protocol)
    path = f"/api/models/{MODEL}/versions"
    made = await world.product.rest("POST", path, files={"file": ("model.bin", data)})
    assert (made.status_code, made.json()["file"]["format"]) == (201, "executable"), made.text
    number = made.json()["version"]
    deployed = await world.product.rest("POST", f"{path}/{number}/deploy", json={"endpoint": ENDPOINT})
    assert deployed.status_code in (409, 422), deployed.text
    assert (await world.product.rest("GET", f"{path}/{number}/download")).content == data
    assert not canary.exists()
    pickle.loads(data)
    assert canary.exists(), "the canary works"


@pytest.mark.parametrize("name", PAGES)
async def test_pages_in_files_are_attachments(world: World, name: str) -> None:
    path = f"/api/models/{MODEL}/versions"
    made = await world.product.rest("POST", path, files={"file": (name, PAGES[name], "text/html")})
    assert made.status_code == 201, made.text
    answer = await world.product.rest("GET", f"{path}/{made.json()['version']}/download")
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["content-type"] == "application/octet-stream"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox; default-src 'none';")
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_pages_in_texts_are_data(world: World) -> None:
    body = {"name": SCRIPT, "notes": SCRIPT, "tags": {"t": SCRIPT}, "params": {"p": SCRIPT}}
    run = (await world.product.rest("POST", "/api/training/runs", json=body)).json()["id"]
    await world.product.rest("POST", f"/api/training/runs/{run}/logs", json={"message": SCRIPT})
    texts = f"/api/training/runs/{run}"
    for path in (texts, f"{texts}/logs", "/api/training/runs", f"/api/models/{SCRIPT}", f"/{SCRIPT}", "/graphql"):
        for accept in ("*/*", "text/html"):
            answer = await world.product.rest("GET", path, headers={"Accept": accept})
            assert answer.headers["x-content-type-options"] == "nosniff"
            kind = answer.headers["content-type"].partition(";")[0]
            assert kind != "text/html" or SCRIPT not in answer.text, path
            assert kind in ("application/json", "application/graphql-response+json") or SCRIPT not in answer.text, path


JSON_ROUTES: Final = sorted(
    (route.operation.method.upper(), route.operation.path)
    for route in ROUTES
    if route.operation.request is not None and JSON in route.operation.request.media
)


@pytest.mark.parametrize(("method", "path"), JSON_ROUTES)
async def test_json_as_deep_as_it_likes_is_refused_by_every_route(world: World, method: str, path: str) -> None:
    kind = "mdl" if "/models/" in path else "end" if "/endpoints/" in path else "run"
    url = path.replace("{id}", world.ids[kind]).replace("{v}", "1").replace("{name}", ENDPOINT)
    for deep in (
        b"[" * 200_000,
        b'{"a":' * 100_000,
        json.dumps({"name": "x"})[:-1].encode() + b',"a":' + b"[" * 90_000,
    ):
        headers = {"Content-Type": "application/json"}
        answer = await world.product.rest(method, url, content=deep, headers=headers)
        assert answer.status_code in (400, 404, 413, 415, 422), answer.text[:300]
        assert not re.search("INTERNAL|recursion|Traceback", answer.text)


@pytest.mark.parametrize("digits", [1_001, 5_000])
async def test_numbers_without_end_are_refused_in_our_words(world: World, digits: int) -> None:
    number = "-" + "1" * digits
    for query in (
        f"{{ runs(first: {number}) {{ nodes {{ id }} }} }}",
        f"query ($n: Int = {number}) {{ runs(first: $n) {{ nodes {{ id }} }} }}",
        f'mutation {{ runCreate(input: {{name: "x", config: {{deep: [{number}]}}}}) {{ id }} }}',
    ):
        answer = await world.product.rest("POST", "/graphql", json={"query": query})
        (error,) = answer.json()["errors"]
        said = f"Syntax Error: a whole number may have at most 1000 digits, this one has {digits}."
        assert (error["message"], error["extensions"]["code"]) == (said, "BAD_USER_INPUT")
        assert error["locations"] == [{"line": 1, "column": query.index(number) + 1}]
    body = f'{{"query": "query ($n: Int) {{ runs(first: $n) {{ nodes {{ id }} }} }}", "variables": {{"n": {number}}}}}'
    run = f'{{"name": "x", "config": {{"n": {number}}}}}'
    for path, text in (("/graphql", body), ("/api/training/runs", run)):
        refused = await world.product.rest("POST", path, content=text, headers={"Content-Type": "application/json"})
        assert refused.status_code in (400, 422)
        assert "BAD_USER_INPUT" in refused.text
        assert "sys." not in refused.text
