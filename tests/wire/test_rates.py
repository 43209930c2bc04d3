"""Limits on how often one may ask, over real sockets: REST, GraphQL and WebSockets. No bucket here fills in time."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from server.settings import RatesSettings, ServerSettings
from tests.wire.served import Served, serving

GOOD = {"Authorization": "Bearer good"}
METRICS = "/api/training/runs/r/metrics"
LOGIN = '{ authLogin(email: "a@example.com") }'
WAIT = 10


def client_of(served: Served, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=served.url, headers=headers, timeout=30)


def check_refusal(response: httpx.Response, name: str) -> None:
    """The shape of a refusal: status, code, when to come back, and by which limit."""
    assert response.status_code == 429
    body = response.json()
    wait = int(response.headers["retry-after"])
    if "error" in body:
        assert set(body["error"]) == {"code", "message", "field", "request_id"}
        assert body["error"]["code"] == "RATE_LIMITED"
    else:
        extensions = body["errors"][0]["extensions"]
        assert extensions["code"] == "RATE_LIMITED"
        assert wait - 1 <= extensions["retryAfter"] <= wait
    if name:
        assert re.fullmatch(rf'"{name}";q=[0-9]+;w=3600', response.headers["ratelimit-policy"])
        assert response.headers["ratelimit"] == f'"{name}";r=0;t={wait}'


def socket_to(served: Served, path: str = "/graphql") -> ClientConnection:
    protocols = [Subprotocol("graphql-transport-ws")] if path == "/graphql" else None
    return connect(f"ws://127.0.0.1:{served.port}{path}", subprotocols=protocols)


def say(socket: ClientConnection, message: dict[str, Any]) -> dict[str, Any]:
    socket.send(json.dumps(message))
    answer: dict[str, Any] = json.loads(socket.recv(WAIT))
    return answer


def init(token: str) -> dict[str, Any]:
    return {"type": "connection_init", "payload": {"Authorization": f"Bearer {token}"}}


def test_a_caller_gets_so_many_requests_and_as_many_batches_of_its_own() -> None:
    rates = RatesSettings(requests="3/1h", ingest="2/1h")
    with serving(rates=rates) as served, client_of(served, **GOOD) as http:
        first = http.post("/api/read", content=b"abc")
        assert (first.status_code, first.text) == (200, "3")
        assert first.headers["ratelimit-policy"] == '"requests";q=3;w=3600'
        assert first.headers["ratelimit"] == '"requests";r=2;t=1200'
        assert http.get("/api/nothing").headers["ratelimit"].startswith('"requests";r=1;')
        assert http.post("/graphql", json={"query": "{ hello }"}).json() == {"data": {"hello": "hello world"}}
        check_refusal(http.post("/api/read", content=b"x" * 100_000), "requests")
        check_refusal(http.post("/graphql", json={"query": "{ hello }"}), "requests")
        for left in (1, 0):
            assert http.post(METRICS, content=b"x").headers["ratelimit"].startswith(f'"ingest";r={left};')
        check_refusal(http.post(METRICS, content=b"x" * 100_000), "ingest")
        stranger = http.post("/graphql", json={"query": "{ serverInfo }"}, headers={"Authorization": ""})
        assert stranger.status_code == 200, "strangers are counted apart"


def test_strangers_are_counted_by_address_and_the_pulse_never() -> None:
    with serving(rates=RatesSettings(visitors="3/1h")) as served, client_of(served) as http:
        assert http.get("/").headers["ratelimit"] == '"visitors";r=2;t=1200'
        assert http.get("/api/read").status_code == 401
        assert http.post("/graphql", json={"query": "{ serverInfo }"}).status_code == 200
        check_refusal(http.get("/"), "visitors")
        check_refusal(http.get("/api/read"), "visitors")
        check_refusal(http.post("/graphql", json={"query": "{ serverInfo }"}), "visitors")
        with pytest.raises(InvalidStatus) as refused, socket_to(served):
            pass
        assert refused.value.response.status_code == 429
        assert int(refused.value.response.headers["retry-after"]) > 0
        for _ in range(5):
            alive = http.get("/health")
            assert (alive.status_code, "ratelimit" in alive.headers) == (200, False)
        assert http.post("/api/read", content=b"a", headers=GOOD).status_code == 200


def test_guessing_passwords_is_slow_by_whatever_door() -> None:
    with serving(rates=RatesSettings(sign_in="5/1h")) as served, client_of(served) as http:
        for _ in range(2):
            assert http.post("/api/auth/login", json={}).headers["ratelimit"].startswith('"sign-in";')
        assert http.post("/graphql", json={"query": f"mutation {LOGIN}"}).json()["data"] == {
            "authLogin": "a@example.com"
        }
        http.cookies.clear()  # of the session that was just opened
        twice = 'mutation { a: authLogin(email: "b@example.com") b: authLogin(email: "c@example.com") }'
        assert http.post("/graphql", json={"query": twice}).status_code == 200
        http.cookies.clear()
        check_refusal(http.post("/api/auth/login", json={}), "sign-in")
        check_refusal(http.post("/api/auth/setup", json={}), "sign-in")
        check_refusal(http.post("/graphql", json={"query": f"mutation {LOGIN}"}), "")
        hidden = "mutation { ...L } fragment L on Mutation " + LOGIN
        check_refusal(http.post("/graphql", json={"query": hidden}, headers=GOOD), "")
        assert http.post("/graphql", json={"query": "mutation { bump }"}, headers=GOOD).json() == {"data": {"bump": 1}}
        assert http.get("/login").status_code == 404
        with socket_to(served) as socket:
            assert say(socket, init("good")) == {"type": "connection_ack"}
            guess = {"id": "1", "type": "subscribe", "payload": {"query": f"mutation {LOGIN}"}}
            assert say(socket, guess)["payload"][0]["extensions"]["code"] == "RATE_LIMITED"


def test_renewing_sessions_has_its_own_limit() -> None:
    with serving(rates=RatesSettings(refresh="2/1h", sign_in="1/1h")) as served, client_of(served) as http:
        for left in (1, 0):
            assert http.post("/api/auth/refresh", json={}).headers["ratelimit"].startswith(f'"refresh";r={left};')
        check_refusal(http.post("/api/auth/refresh", json={}), "refresh")


def test_after_many_wrong_tokens_only_proven_ones_are_looked_at() -> None:
    with serving(rates=RatesSettings(refused="4/1h")) as served, client_of(served) as http:
        assert http.post("/api/read", content=b"", headers=GOOD).status_code == 200
        for number in range(3):
            assert http.get("/api/read", headers={"Authorization": f"Bearer wrong{number}"}).status_code == 401
        with socket_to(served) as socket:
            socket.send(json.dumps(init("wrong")))
            with pytest.raises(Exception, match="4403"):
                socket.recv(WAIT)
        for headers in ({"Authorization": "Bearer wrong"}, {"Cookie": "axonml_session=good"}):
            check_refusal(http.get("/api/read", headers=headers), "refused")
        check_refusal(
            http.post("/graphql", json={"query": "{ hello }"}, headers={"Authorization": "Bearer w"}), "refused"
        )
        with socket_to(served) as socket:
            socket.send(json.dumps(init("wrong")))
            with pytest.raises(Exception, match="1013"):
                socket.recv(WAIT)
        assert http.post("/api/read", content=b"", headers=GOOD).status_code == 200
        assert http.post("/graphql", json={"query": "{ serverInfo }"}).status_code == 200


def test_operations_on_a_socket_count_like_requests_and_the_socket_lives_on() -> None:
    with serving(rates=RatesSettings(requests="2/1h")) as served, socket_to(served) as socket:
        assert say(socket, init("good")) == {"type": "connection_ack"}
        for identifier in ("1", "2"):
            query = {"id": identifier, "type": "subscribe", "payload": {"query": "{ hello }"}}
            assert say(socket, query)["payload"] == {"data": {"hello": "hello world"}}
            assert json.loads(socket.recv(WAIT)) == {"id": identifier, "type": "complete"}
        refused = say(socket, {"id": "3", "type": "subscribe", "payload": {"query": "{ hello }"}})
        assert (refused["id"], refused["type"]) == ("3", "error")
        assert refused["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
        assert refused["payload"][0]["extensions"]["retryAfter"] > 1_000
        assert say(socket, {"type": "ping"}) == {"type": "pong"}


def test_what_operations_cost_is_counted_and_so_are_documents_that_must_be_read() -> None:
    query = "{ items(first: 99) { name } }"
    read, cost = 2 * len(query), 100
    rates = RatesSettings(graphql_cost=f"{read + 3 * cost}/1h")
    with serving(rates=rates) as served, client_of(served, **GOOD) as http:
        for _ in range(3):
            assert len(http.post("/graphql", json={"query": query}).json()["data"]["items"]) == 99
        check_refusal(http.post("/graphql", json={"query": query}), "")
        # Neither a document that is wrong nor one that does not parse is read for nothing.
        for unread in ("{ nothing { at all } }", "{ ", "{ hello }"):
            check_refusal(http.post("/graphql", json={"query": unread}), "")
        assert http.post("/graphql", json={"query": "{ serverInfo }"}, headers={"Authorization": ""}).status_code == 200


def test_an_address_is_taken_from_a_proxy_only_when_the_proxy_is_trusted() -> None:
    trusted = ServerSettings(trusted_proxies=("127.0.0.1/32",))
    one, other = {"X-Forwarded-For": "6.6.6.6, 203.0.113.9"}, {"X-Forwarded-For": "203.0.113.10"}
    forged = {"X-Forwarded-For": "6.6.6.7, 203.0.113.9"}
    rates = RatesSettings(visitors="2/1h")
    with serving(rates=rates, server=trusted) as served, client_of(served) as http:
        assert [http.get("/", headers=one).status_code for _ in range(3)] == [404, 404, 429]
        assert http.get("/", headers=forged).status_code == 429
        assert http.get("/", headers=other).status_code == 404
    with serving(rates=rates) as served, client_of(served) as http:
        assert [http.get("/", headers=headers).status_code for headers in (one, other, forged)] == [404, 404, 429]
