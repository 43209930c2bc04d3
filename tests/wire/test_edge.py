"""The edge over real sockets: hosts, bodies, credentials, headers, and one error shape for everything."""

from __future__ import annotations

import asyncio
import io
import json
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from starlette.requests import Request
from starlette.responses import FileResponse, Response, StreamingResponse
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from domain.errors import BadUserInput, Conflict, NotFound, RateLimited, Unavailable
from server.edge import public
from server.edge.headers import POLICY
from server.rest.handler import answer, idempotency_key, json_body, query
from server.rest.route import JSON, Answer, Content, Handler, Operation, Param, Route
from server.settings import LimitsSettings, ServerSettings
from tests.wire.served import Served, serving

SIGNED_IN = {"Authorization": "Bearer good"}
LIMITS = LimitsSettings(body_bytes=2048, ingest_body_bytes=8192)


class Point(msgspec.Struct, forbid_unknown_fields=True):
    """One point of the test route's body."""

    key: Annotated[str, msgspec.Meta(min_length=1)]
    value: float


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """The test route's body."""

    name: str
    points: list[Point] = []


class Paging(msgspec.Struct, forbid_unknown_fields=True):
    """The test route's query."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=200)] = 50
    keys: list[str] = []


async def _create(request: Request) -> Response:
    body = await json_body(request, Body)
    refusals = {
        "conflict": Conflict("the name is taken", field="name"),
        "rule": BadUserInput("the name is not allowed", field="name"),
        "path": BadUserInput("not an id", field="id"),
        "busy": RateLimited("slow down", retry_after=2.2),
        "away": Unavailable("the database is away", retry_after=1),
    }
    if body.name in refusals:
        raise refusals[body.name]
    if body.name == "defect":
        raise RuntimeError("secret detail: hunter2")
    return answer({"name": body.name, "key": idempotency_key(request)}, 201)


async def _list(request: Request) -> Response:
    return answer(query(request, Paging))


async def _one(request: Request) -> Response:
    raise NotFound(f"there is no thing {request.path_params['id']}")


def _operation(method: Any, path: str, **more: Any) -> Operation:
    return Operation(
        method=method,
        path=path,
        operation_id=f"{method} {path}",
        tag="test",
        summary="",
        description="",
        answers={200: Answer("")},
        **more,
    )


ROUTES = (
    Route(_operation("get", "/api/things"), _list),
    Route(
        _operation(
            "post",
            "/api/things",
            request=Content("", {JSON: Body}),
            params=(Param("id", str, "", "path"),),
            idempotent=True,
        ),
        _create,
    ),
    Route(_operation("get", "/api/things/{id}"), _one),
    Route(_operation("delete", "/api/things/{id}"), _one),
    Route(_operation("get", "/api/things/literal"), _list),
)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    settings = ServerSettings(cors_origins=("https://app.example",), trusted_hosts=("models.example",))
    with serving(limits=LIMITS, server=settings, rest=ROUTES) as server:
        yield server


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, headers=SIGNED_IN, timeout=30) as client:
        yield client


def error_of(response: httpx.Response) -> tuple[int, str, str | None]:
    error = response.json()["error"]
    assert set(error) == {"code", "message", "field", "request_id"}
    assert error["request_id"] == response.headers["x-request-id"]
    return response.status_code, error["code"], error["field"]


# Who is let in.


@pytest.mark.parametrize(
    "path",
    ["/api/things", "/api/nothing", "/nothing", "/api/things/x", "/docs", "/metrics", "/api/auth/login/x"],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_everything_that_is_not_public_needs_a_caller(http: httpx.Client, method: str, path: str) -> None:
    response = http.request(method, path, headers={"Authorization": ""})
    assert error_of(response) == (401, "UNAUTHENTICATED", None)
    assert response.headers["www-authenticate"] == 'Bearer realm="axonml"'
    for token in ("Bearer old", "Bearer", "good", "Basic good", "bearer  good"):
        assert http.request(method, path, headers={"Authorization": token}).status_code == 401


@pytest.mark.parametrize(
    "path",
    ["//health", "/health/", "/HEALTH", "/health%2f..%2fapi", "/assets/../api/things", "/health/ready/x", "/health;x"],
)
def test_the_public_list_is_literal(served: Served, path: str) -> None:
    with socket.create_connection(("127.0.0.1", served.port)) as raw:
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        status = raw.makefile("rb").readline()
    assert b" 401 " in status, status


def test_the_public_list_is_as_short_as_promised() -> None:
    assert len(public.ROUTES) <= 10
    assert sum(len(fields - {"__typename"}) for fields in public.ROOT_FIELDS.values()) <= 9


def test_a_token_in_the_query_string_is_never_read(served: Served) -> None:
    for name in ("token", "access_token", "authorization", "api_key", "axonml_session"):
        assert httpx.get(f"{served.url}/api/things", params={name: "good"}).status_code == 401


def test_another_workspace_does_not_exist(http: httpx.Client) -> None:
    assert error_of(http.get("/api/things", headers={"X-Axonml-Workspace": "other"})) == (404, "NOT_FOUND", None)
    assert http.get("/api/things", headers={"X-Axonml-Workspace": "default"}).status_code == 200


def test_a_cookie_needs_our_own_origin_to_change_anything(served: Served) -> None:
    own = {"Origin": served.url, "Cookie": "axonml_session=good"}
    with httpx.Client(base_url=served.url) as browser:
        assert browser.get("/api/things", headers={"Cookie": "axonml_session=good"}).status_code == 200
        assert browser.post("/api/things", headers=own, json={"name": "a"}).status_code == 201
        for foreign in (
            {"Origin": "https://evil.example"},
            {"Origin": "https://app.example"},
            {"Origin": served.url.replace("http", "ftp")},
            {"Origin": "null"},
            {"Origin": "http://[bad"},
            {"Sec-Fetch-Site": "cross-site", "Origin": served.url},
            {"Sec-Fetch-Site": "same-site"},
        ):
            response = browser.post(
                "/api/things", headers={"Cookie": "axonml_session=good", **foreign}, json={"name": "a"}
            )
            assert error_of(response) == (403, "FORBIDDEN", None), foreign
        # Renewing a session by cookie is public, and still not open to foreign pages.
        renewed = browser.post(
            "/api/auth/refresh", headers={"Cookie": "axonml_refresh=x", "Origin": "https://evil.example"}
        )
        assert error_of(renewed) == (403, "FORBIDDEN", None)


def test_a_bearer_never_falls_back_to_a_cookie(served: Served) -> None:
    headers = {"Authorization": "Bearer old", "Cookie": "axonml_session=good"}
    assert httpx.get(f"{served.url}/api/things", headers=headers).status_code == 401


def test_a_socket_route_needs_a_caller_before_it_is_accepted(served: Served) -> None:
    url = f"ws://127.0.0.1:{served.port}/api/training/runs/r/stream"
    refused: tuple[tuple[dict[str, str], int], ...] = (
        ({}, 401),
        ({"Authorization": "Bearer old"}, 401),
        ({"Cookie": "axonml_session=good"}, 403),
    )
    for headers, status in refused:
        with pytest.raises(Exception, match=str(status)), connect(url, additional_headers=headers):
            pass
    with connect(url, additional_headers=SIGNED_IN) as opened:
        assert opened.recv() == "hello"


# Host names.


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "127.0.0.1.nip.io", "[::2]", "0.0.0.0"])
def test_foreign_host_names_are_refused(served: Served, host: str) -> None:
    response = httpx.get(f"{served.url}/health", headers={"Host": host})
    assert error_of(response) == (400, "BAD_USER_INPUT", "Host")
    with pytest.raises(Exception, match="400"), connect(served.socket, additional_headers={"Host": host}):
        pass


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:3000", "models.example", "models.example:443"]
)
def test_own_host_names_are_answered(served: Served, host: str) -> None:
    assert httpx.get(f"{served.url}/health", headers={"Host": host}).status_code == 200


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


# Headers, ids, logs.


def test_security_headers_are_on_every_answer(served: Served) -> None:
    for response in (
        httpx.get(f"{served.url}/health"),
        httpx.get(f"{served.url}/api/things"),
        httpx.get(f"{served.url}/nothing", headers=SIGNED_IN),
        httpx.get(f"{served.url}/api/broken", headers=SIGNED_IN),
        httpx.get(f"{served.url}/health", headers={"Host": "evil.example"}),
        httpx.post(served.graphql, content=b"{", headers={"Content-Type": "application/json"}),
    ):
        assert response.headers["content-security-policy"] == POLICY
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "same-origin"
        assert response.headers["cross-origin-opener-policy"] == "same-origin"
        assert response.headers["cache-control"] == "no-store"
        assert "server" not in response.headers
    assert "unsafe" not in POLICY


def test_cors_is_an_allow_list_without_cookies(served: Served) -> None:
    preflight = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST"}
    allowed = httpx.options(f"{served.url}/api/things", headers=preflight)
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert "access-control-allow-credentials" not in allowed.headers
    foreign = httpx.options(f"{served.url}/api/things", headers={**preflight, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers
    with serving() as closed:
        none = httpx.options(f"{closed.url}/api/things", headers=preflight)
        assert "access-control-allow-origin" not in none.headers


def test_request_ids_are_taken_when_valid_and_made_otherwise(served: Served) -> None:
    def answered(given: str) -> str:
        return httpx.get(f"{served.url}/health", headers={"X-Request-Id": given}).headers["x-request-id"]

    assert answered("my-id.1") == "my-id.1"
    for bad in ("", "a b", "x" * 65, "<script>", "a;b"):
        made = answered(bad)
        assert made != bad
        assert len(made) == 32


def test_a_defect_is_masked_and_logged_under_its_request_id(served: Served, log_lines: io.StringIO) -> None:
    response = httpx.get(f"{served.url}/api/broken", headers=SIGNED_IN)
    assert error_of(response) == (500, "INTERNAL", None)
    assert "hunter2" not in response.text
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    mine = [line for line in lines if line.get("request_id") == response.headers["x-request-id"]]
    assert any("RuntimeError" in line.get("exception", "") for line in mine)
    access = next(line for line in mine if line["event"] == "request")
    assert (access["method"], access["path"], access["status"]) == ("GET", "/api/broken", 500)
    assert "Bearer" not in log_lines.getvalue()


def _large_file(tmp_path: Path) -> Path:
    file = tmp_path / "large"
    with file.open("wb") as sparse:
        sparse.truncate(256 << 20)
    return file


def _long_answers(file: Path) -> tuple[Route, ...]:
    """An export that never ends, and a download that nobody reads as fast as it is sent."""

    async def lines() -> AsyncIterator[bytes]:
        while True:
            yield b"key,step,timestamp,value\r\n"
            await asyncio.sleep(0)

    async def export(_: Request) -> Response:
        return StreamingResponse(lines())

    async def download(_: Request) -> Response:
        return FileResponse(file)

    def route(name: str, handler: Handler) -> Route:
        answers = {200: Answer("Much.")}
        operation = Operation(
            method="get",
            path=f"/api/{name}",
            operation_id=name,
            tag="system",
            summary=name,
            description=name,
            answers=answers,
        )
        return Route(operation, handler)

    return route("export", export), route("download", download)


@pytest.mark.parametrize("path", ["/api/export", "/api/download"])
@pytest.mark.parametrize("end", ["stop", "session"])
def test_what_is_being_sent_is_torn_visibly_when_it_must_end(
    path: str, end: str, tmp_path: Path, log_lines: io.StringIO
) -> None:
    with serving(rest=_long_answers(_large_file(tmp_path))) as server, httpx.Client(timeout=30) as client:
        connections = server.connections
        with client.stream("GET", f"{server.url}{path}", headers=SIGNED_IN) as response:
            pieces = response.iter_raw()
            next(pieces)
            server.call(connections.stop() if end == "stop" else connections.end_session("ses_1"))
            with pytest.raises(httpx.TransportError):
                list(pieces)
        later = client.get(f"{server.url}{path}", headers=SIGNED_IN) if end == "stop" else None
    if later is not None:
        assert error_of(later) == (503, "UNAVAILABLE", None)
        assert later.headers["retry-after"] == "1"
    lines = [json.loads(line) for line in log_lines.getvalue().splitlines()]
    assert [line["event"] for line in lines if line["event"] == "answer cut short"] == ["answer cut short"]
    assert not [line for line in lines if line["level"] in ("error", "critical")]


def test_who_comes_on_top_of_the_limit_is_told_to_come_back() -> None:
    with (
        serving(limits=LimitsSettings(connections=10)) as server,
        httpx.Client(base_url=server.url, headers=SIGNED_IN, timeout=30) as client,
        ExitStack() as held,
    ):
        streams = [held.enter_context(client.stream("GET", "/api/stream")).iter_raw() for _ in range(8)]
        assert [next(stream) for stream in streams] == [b"first\n"] * 8
        sockets = [held.enter_context(_graphql_socket(server)) for _ in range(2)]

        refused = client.post("/api/read", content=b"x" * 1000)
        assert error_of(refused) == (503, "UNAVAILABLE", None)
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["request_id"] == refused.headers["x-request-id"]
        of_graph = client.post("/graphql", json={"query": "{ hello }"})
        assert (of_graph.status_code, of_graph.headers["retry-after"]) == (503, "1")
        assert of_graph.json()["errors"][0]["extensions"]["code"] == "UNAVAILABLE"
        with pytest.raises(InvalidStatus) as no_socket, _graphql_socket(server):
            pass
        assert no_socket.value.response.status_code == 503
        assert no_socket.value.response.headers["retry-after"] == "1"
        assert client.get("/health").status_code == 200

        sockets[0].close()
        until = time.monotonic() + 10
        while (answered := client.post("/api/read", content=b"x" * 1000)).status_code == 503:
            assert time.monotonic() < until
        assert answered.text == "1000"
        server.call(server.connections.stop())


def _graphql_socket(server: Served) -> ClientConnection:
    return connect(server.socket, subprotocols=[Subprotocol("graphql-transport-ws")])


def test_streams_end_when_the_server_stops() -> None:
    with (
        serving() as server,
        httpx.Client(timeout=30) as client,
        client.stream("GET", f"{server.url}/api/stream", headers=SIGNED_IN) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == "first"
        server.call(server.connections.stop())
        assert list(lines) == []
