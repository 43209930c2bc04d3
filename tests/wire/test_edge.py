"""The edge over real sockets: who is let in, under which names, and what every answer carries."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response
from websockets.sync.client import connect

from server.edge import public
from server.edge.headers import POLICY
from server.settings import ServerSettings
from tests.wire.served import Served, serving
from tests.wire.things import SIGNED_IN, error_of, serving_things


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving_things() as server:
        yield server


@pytest.fixture(scope="module")
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, headers=SIGNED_IN, timeout=30) as client:
        yield client


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


def test_a_trace_is_not_answered(http: httpx.Client) -> None:
    for path in ("/health", "/api/things"):
        answer = http.request("TRACE", path, headers={"X-Told": "again"})
        assert error_of(answer) == (405, "METHOD_NOT_ALLOWED", None)
        assert "again" not in answer.text


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


# Headers, ids, logs.


def _refused_handshake(url: str) -> Response:
    with pytest.raises(InvalidStatus) as refused, connect(url):
        pass
    return refused.value.response


def test_security_headers_are_on_every_answer(served: Served) -> None:
    for response in (
        httpx.get(f"{served.url}/health"),
        httpx.get(f"{served.url}/api/things"),
        httpx.get(f"{served.url}/nothing", headers=SIGNED_IN),
        httpx.get(f"{served.url}/api/broken", headers=SIGNED_IN),
        httpx.get(f"{served.url}/health", headers={"Host": "evil.example"}),
        httpx.post(served.graphql, content=b"{", headers={"Content-Type": "application/json"}),
        httpx.get(f"{served.url}/assets/nothing"),
        httpx.post(f"{served.url}/assets/graphiql.js"),
        _refused_handshake(f"ws://127.0.0.1:{served.port}/api/training/runs/r/stream"),
    ):
        assert response.headers["content-security-policy"] == POLICY
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "same-origin"
        assert response.headers["cross-origin-opener-policy"] == "same-origin"
        assert response.headers["cache-control"] == "no-store"
        assert "server" not in response.headers
        assert "strict-transport-security" not in response.headers, "nobody is led to a port that speaks no TLS"
    assert "unsafe" not in POLICY
    for bound in ("object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"):
        assert bound in POLICY


def test_behind_https_browsers_are_held_to_it() -> None:
    with serving(server=ServerSettings(public_url="https://models.example")) as secure:
        for path in ("/health", "/api/things", "/nothing"):
            answer = httpx.get(f"{secure.url}{path}", follow_redirects=False)
            assert answer.headers["strict-transport-security"] == "max-age=31536000; includeSubDomains"
            assert "location" not in answer.headers, "plain requests are answered, never led elsewhere"


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


def _logged_under(request_id: str, log_lines: io.StringIO) -> list[dict[str, Any]]:
    """What was logged about a request, once its line in the access log is there: it is written after the answer."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        # The last line may be half written: another thread writes it.
        lines = [json.loads(line) for line in log_lines.getvalue().split("\n")[:-1]]
        mine = [line for line in lines if line.get("request_id") == request_id]
        if any(line["event"] == "request" for line in mine):
            return mine
        time.sleep(0.005)
    raise AssertionError(f"no line in the access log for {request_id}")


def test_a_defect_is_masked_and_logged_under_its_request_id(served: Served, log_lines: io.StringIO) -> None:
    response = httpx.get(f"{served.url}/api/broken", headers=SIGNED_IN)
    assert error_of(response) == (500, "INTERNAL", None)
    assert "hunter2" not in response.text
    mine = _logged_under(response.headers["x-request-id"], log_lines)
    assert any("RuntimeError" in line.get("exception", "") for line in mine)
    access = mine[-1]
    assert (access["method"], access["path"], access["status"]) == ("GET", "/api/broken", 500)
    assert "Bearer" not in log_lines.getvalue()


@pytest.mark.parametrize("sent", [b"\x16\x03\x01 hello\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n"])
def test_what_is_no_request_is_found_in_the_log(served: Served, log_lines: io.StringIO, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as raw:
        raw.sendall(sent)
        head, _, body = raw.makefile("rb").read().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    told = json.loads(body)["error"]
    line = next(one for one in map(json.loads, log_lines.getvalue().splitlines()) if "request_id" in one)
    assert (line["request_id"], line["status"], line["client"]) == (told["request_id"], 400, "127.0.0.1")
    assert line["reason"] == told["message"]
