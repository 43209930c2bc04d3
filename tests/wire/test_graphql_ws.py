"""GraphQL over WebSocket with clients that we did not write: the probes a conforming server passes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from gql import Client, gql
from gql.transport.aiohttp_websockets import AIOHTTPWebsocketsTransport
from gql.transport.exceptions import TransportConnectionFailed
from gql.transport.websockets import WebsocketsTransport
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Origin, Subprotocol

from server.graphql.asking import READING
from server.settings import LimitsSettings, RatesSettings, ServerSettings
from tests.wire.served import Served, ended, serving

PROTOCOL = Subprotocol("graphql-transport-ws")
INIT = {"type": "connection_init", "payload": {"Authorization": "Bearer good"}}
LIMITS = LimitsSettings(socket_init_seconds=0.5, socket_operations=20, graphql_seconds=0.5, send_seconds=1)
WAIT = 10.0


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(limits=LIMITS, server=ServerSettings(cors_origins=("https://app.example",))) as server:
        yield server


def open_socket(served: Served, **more: Any) -> connect:
    return connect(served.socket, **{"subprotocols": [PROTOCOL], **more})


async def say(socket: ClientConnection, *messages: object) -> None:
    for message in messages:
        await socket.send(message if isinstance(message, str | bytes) else json.dumps(message))


async def hear(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(WAIT):
        frame = await socket.recv()
    assert isinstance(frame, str), "browsers read text frames"
    message: dict[str, Any] = json.loads(frame)
    return message


async def close_code(socket: ClientConnection) -> int | None:
    async with asyncio.timeout(WAIT):
        await socket.wait_closed()
    return socket.close_code


async def eventually(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT):
        while not true():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def subscribe(query: str, identifier: object = "1", **payload: Any) -> dict[str, Any]:
    return {"id": identifier, "type": "subscribe", "payload": {"query": query, **payload}}


async def signed_in(socket: ClientConnection) -> None:
    await say(socket, INIT)
    assert await hear(socket) == {"type": "connection_ack"}


@pytest.mark.parametrize("transport", [WebsocketsTransport, AIOHTTPWebsocketsTransport])
async def test_gql_clients_query_and_subscribe(served: Served, transport: Any) -> None:
    wire = transport(url=served.socket, init_payload=INIT["payload"], subprotocols=[PROTOCOL], ping_interval=0.2)
    async with Client(transport=wire, fetch_schema_from_transport=True) as session:
        assert await session.execute(gql("{ me }")) == {"me": "alice@example.org"}
        assert [item["count"] async for item in session.subscribe(gql("subscription { count(to: 3) }"))] == [0, 1, 2]


async def test_gql_client_without_credentials_is_turned_away(served: Served) -> None:
    wire = WebsocketsTransport(url=served.socket, subprotocols=[PROTOCOL])
    with pytest.raises(TransportConnectionFailed):
        async with Client(transport=wire) as session:
            await session.execute(gql("{ serverInfo }"))


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (None, 4401),
        ({}, 4401),
        ({"Authorization": "Bearer old"}, 4403),
        ({"Authorization": "Bearer good", "X-Axonml-Workspace": "other"}, 4403),
        ({"Authorization": "Bearer defect"}, 4500),
        ({"Authorization": 1}, 4401),
    ],
)
async def test_connection_init_decides_who_comes_in(served: Served, payload: object, code: int) -> None:
    async with open_socket(served) as socket:
        await say(socket, {"type": "connection_init", "payload": payload})
        assert await close_code(socket) == code


async def test_nothing_runs_before_connection_init(served: Served) -> None:
    async with open_socket(served) as socket:
        await say(socket, subscribe("{ serverInfo }"))
        assert await close_code(socket) == 4401


async def test_a_socket_without_connection_init_is_closed(served: Served) -> None:
    async with open_socket(served) as socket:
        assert await close_code(socket) == 4408


async def test_a_second_connection_init_closes(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        await say(socket, INIT)
        assert await close_code(socket) == 4429


async def test_ping_is_answered_with_its_payload_even_before_init(served: Served) -> None:
    async with open_socket(served) as socket:
        await say(socket, {"type": "ping", "payload": {"n": 1}}, {"type": "pong"}, {"type": "ping"})
        assert await hear(socket) == {"type": "pong", "payload": {"n": 1}}
        assert await hear(socket) == {"type": "pong"}


@pytest.mark.parametrize(
    "frame",
    [
        "1",
        '"text"',
        "null",
        "[]",
        "{",
        "",
        b"\x00\x01",
        "{}",
        {"type": "unknown"},
        {"type": 1},
        {"type": "ping", "payload": "text"},
        {"type": "complete"},
        {"type": "complete", "id": []},
        {"type": "subscribe"},
        {"type": "subscribe", "id": "1"},
        {"type": "subscribe", "payload": {"query": "{ hello }"}},
        subscribe("{ hello }", []),
        subscribe("{ hello }", ""),
        subscribe("{ hello }", 1),
        {"type": "subscribe", "id": "1", "payload": None},
        {"type": "subscribe", "id": "1", "payload": "{ hello }"},
        {"type": "subscribe", "id": "1", "payload": {"query": None}},
        subscribe("{ hello }", variables=[]),
        subscribe("{ hello }", operationName=1),
    ],
)
async def test_broken_messages_close_with_4400(served: Served, frame: Any) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        await say(socket, frame)
        assert await close_code(socket) == 4400


async def test_a_large_message_closes_with_1009(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        await say(socket, subscribe("{ hello } #" + "x" * LIMITS.socket_message_bytes))
        assert await close_code(socket) == 1009


async def test_a_duplicate_id_closes(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        await say(socket, subscribe('subscription { endless(name: "duplicate") }'))
        await hear(socket)
        await say(socket, subscribe("{ hello }"))
        assert await close_code(socket) == 4409
    await eventually(lambda: "duplicate" in ended)


@pytest.mark.parametrize(
    "query",
    ["{", "{ nothing }", "{ hello", "query A { hello } query B { hello }", "", "   ", "{" + "a{" * 300 + "}" * 300],
)
async def test_a_refused_operation_leaves_the_socket_and_the_others_alone(served: Served, query: str) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        await say(socket, subscribe("subscription { endless }", "other"))
        assert (await hear(socket))["type"] == "next"
        await say(socket, subscribe(query))
        refused = await hear(socket)
        assert (refused["id"], refused["type"]) == ("1", "error")
        assert refused["payload"][0]["extensions"]["code"] in ("BAD_USER_INPUT", "QUERY_TOO_COMPLEX")
        await say(socket, subscribe("{ hello }"))
        assert (await hear(socket))["payload"] == {"data": {"hello": "hello world"}}
        assert await hear(socket) == {"id": "1", "type": "complete"}


async def test_unknown_completes_are_ignored_and_ids_can_be_reused(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        await say(socket, {"id": "never", "type": "complete"})
        for _ in range(3):
            await say(socket, subscribe("subscription { count(to: 1) }"))
            assert (await hear(socket))["payload"] == {"data": {"count": 0}}
            assert await hear(socket) == {"id": "1", "type": "complete"}


async def test_an_unknown_operation_name_is_an_error_of_the_operation(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        await say(socket, subscribe("query A { hello }", operationName="B"))
        refused = await hear(socket)
        assert refused["type"] == "error"
        assert refused["payload"][0]["extensions"]["code"] == "BAD_USER_INPUT"


async def test_completing_a_subscription_ends_its_generator(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        await say(socket, subscribe('subscription { endless(name: "cancelled") }'))
        assert (await hear(socket))["type"] == "next"
        assert "cancelled" not in ended
        await say(socket, {"id": "1", "type": "complete"})
        await eventually(lambda: "cancelled" in ended)


async def test_a_lost_client_ends_its_generators(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        await say(socket, subscribe('subscription { endless(name: "lost") }'))
        assert (await hear(socket))["type"] == "next"
        assert "lost" not in ended
        socket.transport.abort()
    await eventually(lambda: "lost" in ended)


async def test_more_operations_than_allowed_are_refused_one_by_one(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        for index in range(LIMITS.socket_operations):
            await say(socket, subscribe("subscription { endless }", str(index)))
            assert (await hear(socket))["type"] == "next"
        await say(socket, subscribe("{ hello }", "over"))
        refused = await hear(socket)
        assert (refused["type"], refused["id"]) == ("error", "over")
        assert refused["payload"][0]["extensions"]["code"] == "OVERLOADED"


async def test_of_a_thousand_operations_at_once_the_allowed_ones_run(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        await say(socket, *(subscribe("subscription { endless }", str(index)) for index in range(1_000)))
        heard = [await hear(socket) for _ in range(1_000)]
        assert [message["type"] for message in heard].count("next") == LIMITS.socket_operations
        refused = [message for message in heard if message["type"] == "error"]
        assert len(refused) == 1_000 - LIMITS.socket_operations
        assert {each["payload"][0]["extensions"]["code"] for each in refused} == {"OVERLOADED"}
        await say(socket, {"id": "0", "type": "complete"}, subscribe("{ hello }", "freed"))
        assert (await hear(socket))["payload"] == {"data": {"hello": "hello world"}}


async def test_a_client_that_reads_nothing_is_cut_off(served: Served) -> None:
    async with open_socket(served, max_queue=1, ping_interval=None) as socket:
        await signed_in(socket)
        socket.transport.pause_reading()
        await say(socket, subscribe('subscription { flood(name: "deaf") }'))
        await eventually(lambda: "deaf" in ended)
        socket.transport.abort()


async def test_a_query_over_a_socket_ends_in_time_and_leaves_it_open(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        await say(socket, subscribe("{ sleep(seconds: 60) }"))
        refused = await hear(socket)
        assert refused["type"] == "error"
        assert refused["payload"][0]["extensions"]["code"] == "DEADLINE_EXCEEDED"
        await say(socket, subscribe("{ hello }"))
        assert (await hear(socket))["payload"] == {"data": {"hello": "hello world"}}


async def test_wrong_variables_and_forbidden_kinds_are_errors_of_the_operation(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        for payload in (
            subscribe("query ($n: Int!) { items(first: $n) { name } }", variables={"n": "x"}),
            subscribe("subscription ($n: Int!) { count(to: $n) }", variables={"n": "x"}),
            subscribe("{ items(first: 1000000) { items { name } } }"),
        ):
            await say(socket, payload)
            refused = await hear(socket)
            assert (refused["type"], refused["id"]) == ("error", "1")
            assert refused["payload"][0]["extensions"]["code"] in ("BAD_USER_INPUT", "QUERY_TOO_COMPLEX")


async def test_the_cost_of_an_operation_is_told_on_request(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        for query, cost in (("{ items(first: 3) { name } }", 4), ("subscription { count(to: 2) }", 1)):
            await say(socket, subscribe(query, extensions={"cost": True}))
            first = (await hear(socket))["payload"]
            assert first["extensions"]["cost"]["requested"] == cost
            assert first["extensions"]["cost"]["limit"] == LIMITS.graphql_cost
            while (message := await hear(socket))["type"] == "next":
                assert "extensions" not in message["payload"]


async def test_errors_inside_a_stream_are_coded_and_masked(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        for query, code in (("failing", "CONFLICT"), ("breaking", "INTERNAL")):
            await say(socket, subscribe(f"subscription {{ {query} }}"))
            assert "errors" not in (await hear(socket))["payload"]
            message = await hear(socket)
            assert message["payload"]["errors"][0]["extensions"]["code"] == code
            assert "hunter2" not in json.dumps(message)
            assert (await hear(socket))["type"] == "complete"
        await say(socket, subscribe("{ boom }"))
        message = await hear(socket)
        assert message["payload"]["errors"][0]["extensions"]["code"] == "INTERNAL"


async def test_each_operation_on_a_socket_gets_a_fresh_context(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        for _ in range(2):
            await say(socket, subscribe("{ operations }"))
            assert (await hear(socket))["payload"] == {"data": {"operations": 1}}
            await hear(socket)


LONG = "{ hello } # subscription " + "x" * 20_000
LONG_SUBSCRIPTION = "subscription { count(to: 1) } # " + "x" * 20_000


@pytest.mark.parametrize("query", [LONG, LONG_SUBSCRIPTION])
@pytest.mark.parametrize("transport", ["http", "sse", "socket"])
async def test_a_long_document_is_read_and_charged_once(query: str, transport: str) -> None:
    once = RatesSettings(graphql_cost=f"{READING * len(query) + 10}/1h")
    with serving(rates=once) as server:

        async def ask() -> str:
            if transport == "socket":
                async with open_socket(server) as socket:
                    await signed_in(socket)
                    await say(socket, subscribe(query))
                    return json.dumps(await hear(socket))
            accept = "text/event-stream" if transport == "sse" else "application/json"
            headers = {"Authorization": "Bearer good", "Accept": accept}
            async with httpx.AsyncClient(timeout=30) as http:
                return (await http.post(server.graphql, json={"query": query}, headers=headers)).text

        answer = await ask()
        assert "hello world" in answer or '"count"' in answer or "need a WebSocket" in answer, answer
        assert "RATE_LIMITED" in await ask(), "what is not kept is read, and charged, each time"


@pytest.mark.parametrize("subprotocols", [None, [Subprotocol("graphql-ws")]])
async def test_other_protocols_close_with_4406(served: Served, subprotocols: Any) -> None:
    async with connect(served.socket, subprotocols=subprotocols) as socket:
        assert await close_code(socket) == 4406


@pytest.mark.parametrize(
    "more",
    [
        {"origin": Origin("https://evil.example")},
        {"origin": Origin("null")},
        {"additional_headers": {"Cookie": "axonml_session=good"}},
        {"origin": Origin("https://app.example"), "additional_headers": {"Cookie": "axonml_session=good"}},
    ],
)
async def test_foreign_pages_and_bare_cookies_are_refused_at_the_handshake(served: Served, more: Any) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with open_socket(served, **more):
            pass
    assert caught.value.response.status_code == 403


async def test_a_cookie_signs_in_from_our_own_page(served: Served) -> None:
    async with open_socket(
        served, origin=Origin(served.url), additional_headers={"Cookie": "axonml_session=good"}
    ) as socket:
        await say(socket, {"type": "connection_init"})
        assert await hear(socket) == {"type": "connection_ack"}


async def test_a_listed_origin_may_connect_with_a_token(served: Served) -> None:
    async with open_socket(served, origin=Origin("https://app.example")) as socket:
        await signed_in(socket)
        await say(socket, subscribe("{ hello }"))
        assert (await hear(socket))["payload"] == {"data": {"hello": "hello world"}}


async def test_the_end_of_a_session_closes_its_sockets(served: Served) -> None:
    async with open_socket(served) as socket:
        await signed_in(socket)
        await asyncio.to_thread(served.call, served.connections.end_session("ses_other"))
        await asyncio.to_thread(served.call, served.connections.end_session("ses_1"))
        assert await close_code(socket) == 4403


async def test_a_stop_closes_every_socket_so_that_clients_reconnect() -> None:
    with serving() as server:
        async with open_socket(server) as busy, open_socket(server) as idle:
            await signed_in(busy)
            await say(busy, subscribe('subscription { endless(name: "stopped") }'))
            await hear(busy)
            await asyncio.to_thread(server.call, server.connections.stop())
            assert await close_code(busy) == 1012
            assert await close_code(idle) == 1012
            await eventually(lambda: "stopped" in ended)
            await eventually(lambda: server.connections.open_count == 0)
        with pytest.raises(ConnectionClosed):
            async with open_socket(server) as late:
                await late.recv()
