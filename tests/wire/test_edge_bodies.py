"""Bodies, paths and parameters over real sockets: what is too large or wrong, and one error shape for everything."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from tests.wire.served import Served
from tests.wire.things import LIMITS, SIGNED_IN, error_of, serving_things


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving_things() as server:
        yield server


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, headers=SIGNED_IN, timeout=30) as client:
        yield client


# Bodies.


@pytest.mark.parametrize(
    ("path", "limit"),
    [("/api/read", 2048), ("/api/training/runs/r/metrics", 8192), ("/graphql", LIMITS.graphql_body_bytes)],
)
def test_bodies_over_their_limit_are_413(http: httpx.Client, path: str, limit: int) -> None:
    headers = {"Content-Type": "application/json"}
    announced = http.post(path, content=b"x" * (limit + 1), headers=headers)
    assert announced.status_code == 413

    def chunks() -> Iterator[bytes]:
        for _ in range(limit // 1024 + 2):
            yield b"x" * 1024

    counted = http.post(path, content=chunks(), headers=headers)
    assert counted.status_code == 413
    for response in (announced, counted):
        body = response.json()
        code = body["errors"][0]["extensions"]["code"] if path == "/graphql" else body["error"]["code"]
        assert code == "PAYLOAD_TOO_LARGE"
    if path != "/graphql":
        assert http.post(path, content=b"x" * limit).text == str(limit)


def test_uploads_have_their_own_limit(http: httpx.Client) -> None:
    assert http.post("/api/models/m/versions", content=b"x" * 1_000_000).text == "1000000"


# The error shape, and what a handler need not do itself.


def test_paths_and_methods(http: httpx.Client) -> None:
    assert error_of(http.get("/api/nothing")) == (404, "NOT_FOUND", None)
    assert error_of(http.get("/api/things/")) == (404, "NOT_FOUND", None)
    assert error_of(http.get("/api/things/7")) == (404, "NOT_FOUND", None)
    assert http.get("/api/things/literal").status_code == 200
    for path, allowed in (("/api/things", {"GET", "HEAD", "POST"}), ("/api/things/7", {"GET", "HEAD", "DELETE"})):
        response = http.put(path)
        assert error_of(response) == (405, "METHOD_NOT_ALLOWED", None)
        assert {name.strip() for name in response.headers["allow"].split(",")} == allowed
    assert http.head("/api/things").status_code == 200


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", (400, "BAD_USER_INPUT", None)),
        (b"{", (400, "BAD_USER_INPUT", None)),
        (b"\xff", (400, "BAD_USER_INPUT", None)),
        (b"[" * 1500, (422, "BAD_USER_INPUT", None)),
        (b"[]", (422, "BAD_USER_INPUT", None)),
        (b"{}", (422, "BAD_USER_INPUT", "name")),
        (b'{"name": 1}', (422, "BAD_USER_INPUT", "name")),
        (b'{"name": "a", "nmae": 1}', (422, "BAD_USER_INPUT", "nmae")),
        (
            b'{"name": "a", "points": [{"key": "k", "value": 1}, {"key": "k"}]}',
            (422, "BAD_USER_INPUT", "points[1].value"),
        ),
        (b'{"name": "a", "points": [{"key": "", "value": 1}]}', (422, "BAD_USER_INPUT", "points[0].key")),
        (b'{"name": "a", "points": [{"key": "k", "value": 1, "x": 1}]}', (422, "BAD_USER_INPUT", "points[0].x")),
        (b'{"name": "rule"}', (422, "BAD_USER_INPUT", "name")),
        (b'{"name": "path"}', (400, "BAD_USER_INPUT", "id")),
        (b'{"name": "conflict"}', (409, "CONFLICT", "name")),
        (b'{"name": "away"}', (503, "UNAVAILABLE", None)),
        (b'{"name": "defect"}', (500, "INTERNAL", None)),
    ],
)
def test_bodies_that_cannot_be_used(http: httpx.Client, content: bytes, expected: tuple[int, str, str | None]) -> None:
    response = http.post("/api/things", content=content, headers={"Content-Type": "application/json"})
    assert error_of(response) == expected
    assert "hunter2" not in response.text


def test_other_content_types_are_415(http: httpx.Client) -> None:
    for headers, field in (
        ({"Content-Type": "text/plain"}, "Content-Type"),
        ({}, "Content-Type"),
        ({"Content-Type": "application/json; charset=latin-1"}, "Content-Type"),
        ({"Content-Type": "application/json", "Content-Encoding": "gzip"}, "Content-Encoding"),
    ):
        response = http.post("/api/things", content=b'{"name": "a"}', headers=headers)
        assert error_of(response) == (415, "UNSUPPORTED_MEDIA_TYPE", field)


def test_retry_after_is_in_whole_seconds(http: httpx.Client) -> None:
    response = http.post("/api/things", json={"name": "busy"})
    assert error_of(response) == (429, "RATE_LIMITED", None)
    assert response.headers["retry-after"] == "3"


def test_idempotency_keys_are_checked(http: httpx.Client) -> None:
    good = http.post("/api/things", json={"name": "a"}, headers={"Idempotency-Key": "k" * 128})
    assert good.json() == {"name": "a", "key": "k" * 128}
    for bad in ("", "x" * 129, "a\tb", "a b"):
        response = http.post("/api/things", json={"name": "a"}, headers={"Idempotency-Key": bad})
        assert error_of(response) == (400, "BAD_USER_INPUT", "Idempotency-Key")


def test_query_parameters_are_typed_and_known(http: httpx.Client) -> None:
    assert http.get("/api/things", params={"limit": "7", "keys": "a,b"}).json() == {"limit": 7, "keys": ["a", "b"]}
    assert http.get("/api/things?keys=a&keys=b").json()["keys"] == ["a", "b"]
    for bad, field in (("limit=x", "limit"), ("limit=0", "limit"), ("limit=1&limit=2", "limit"), ("lmit=1", "lmit")):
        assert error_of(http.get(f"/api/things?{bad}")) == (400, "BAD_USER_INPUT", field)
