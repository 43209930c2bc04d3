"""GraphQL over HTTP and SSE with clients that we did not write: conformance, limits, masking, what is public."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gql import Client, gql
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportQueryError

from server.settings import LimitsSettings
from tests.wire.served import Served, serving

LIMITS = LimitsSettings(graphql_seconds=0.5, graphql_cost=20_000)
SIGNED_IN = {"Authorization": "Bearer good"}
SPEC = "application/graphql-response+json"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(limits=LIMITS) as server:
        yield server


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, headers=SIGNED_IN, timeout=30) as client:
        yield client


def run(http: httpx.Client, query: str, **more: Any) -> httpx.Response:
    return http.post("/graphql", json={"query": query, **more})


def error_of(response: httpx.Response) -> dict[str, Any]:
    body = response.json()
    assert "errors" in body, body
    error: dict[str, Any] = body["errors"][0]
    assert error["extensions"]["requestId"] == response.headers["x-request-id"]
    return error


def code_of(response: httpx.Response) -> str:
    return str(error_of(response)["extensions"]["code"])


async def test_gql_client_runs_a_query_and_reads_the_schema(served: Served) -> None:
    transport = AIOHTTPTransport(served.graphql, headers=SIGNED_IN)
    async with Client(transport=transport, fetch_schema_from_transport=True) as session:
        assert await session.execute(gql('{ hello(name: "gql") me }')) == {
            "hello": "hello gql",
            "me": "alice@example.org",
        }
        with pytest.raises(TransportQueryError) as caught:
            await session.execute(gql("{ refuse }"))
    assert caught.value.errors is not None
    assert caught.value.errors[0]["extensions"]["code"] == "BAD_USER_INPUT"


def test_accept_decides_the_media_type(http: httpx.Client) -> None:
    for accept, expected in (
        ("application/json", "application/json"),
        ("*/*", "application/json"),
        (SPEC, SPEC),
        (f"{SPEC}; charset=utf-8, application/json;q=0.9", SPEC),
        (f"application/json, {SPEC}", "application/json"),
    ):
        response = http.post("/graphql", json={"query": "{ hello }"}, headers={"Accept": accept})
        assert response.status_code == 200
        assert response.headers["content-type"].split(";")[0] == expected
        assert response.json() == {"data": {"hello": "hello world"}}


@pytest.mark.parametrize(
    "query",
    ["{", "{ nothing }", "query A { hello } query B { hello }", "query($n: Int!) { items(first: $n) { name } }"],
)
def test_request_errors_have_no_data_and_the_status_of_the_draft(http: httpx.Client, query: str) -> None:
    for accept, status in (("application/json", (200, 400)), (SPEC, (400,))):
        response = http.post("/graphql", json={"query": query}, headers={"Accept": accept})
        assert response.status_code in status
        assert "data" not in response.json()
        assert code_of(response) == "BAD_USER_INPUT"


@pytest.mark.parametrize(
    "body", [b'"x"', b"null", b"1", b"[]", b'[{"query":"{hello}"}]', b"{", b"", b"\xff", b"{}", b"NaN"]
)
def test_bodies_that_are_no_request_are_400(http: httpx.Client, body: bytes) -> None:
    response = http.post("/graphql", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert code_of(response) == "BAD_USER_INPUT"


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"query": 1}, "query"),
        ({"query": ""}, "query"),
        ({"variables": []}, "variables"),
        ({"variables": "x"}, "variables"),
        ({"operationName": 1}, "operationName"),
        ({"operationName": "Missing"}, "operationName"),
        ({"extensions": "x"}, "extensions"),
    ],
)
def test_wrong_parts_of_a_request_are_named(http: httpx.Client, more: dict[str, Any], field: str) -> None:
    response = http.post("/graphql", json={"query": "query Q { hello }", **more})
    assert response.status_code == 400
    assert error_of(response)["extensions"]["field"] == field


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "xapplication/json", ""]
)
def test_other_content_types_are_415(http: httpx.Client, kind: str) -> None:
    response = http.post("/graphql", content=b'{"query":"{hello}"}', headers={"Content-Type": kind})
    assert response.status_code == 415
    assert code_of(response) == "UNSUPPORTED_MEDIA_TYPE"


def test_a_subscription_by_plain_post_is_refused(http: httpx.Client) -> None:
    response = run(http, "subscription { count(to: 2) }")
    assert response.status_code == 400
    assert "text/event-stream" in error_of(response)["message"]


def test_defects_are_masked_and_refusals_are_not(http: httpx.Client) -> None:
    broken = run(http, "{ boom }")
    assert code_of(broken) == "INTERNAL"
    assert "hunter2" not in broken.text
    assert code_of(run(http, "{ huge }")) == "INTERNAL"
    refused = error_of(run(http, "{ refuse }"))
    assert (refused["message"], refused["extensions"]["field"]) == ("the name is too short", "displayName")
    limited = error_of(run(http, "{ limited hello }"))
    assert (limited["extensions"]["code"], limited["extensions"]["retryAfter"]) == ("RATE_LIMITED", 3)


def test_wrong_variables_name_the_variable(http: httpx.Client) -> None:
    response = run(http, "query($n: Int!) { items(first: $n) { name } }", variables={"n": "many"})
    assert error_of(response)["extensions"] | {"requestId": ""} == {
        "code": "BAD_USER_INPUT",
        "field": "n",
        "requestId": "",
    }


def test_an_operation_that_takes_too_long_is_ended(http: httpx.Client) -> None:
    started = time.monotonic()
    response = run(http, "{ sleep(seconds: 20) }")
    assert time.monotonic() - started < 5
    assert (response.status_code, code_of(response)) == (504, "DEADLINE_EXCEEDED")


DOUBLING = (
    "{ ...F0 } "
    + " ".join(f"fragment F{i} on Query {{ ...F{i + 1} ...F{i + 1} }}" for i in range(60))
    + " fragment F60 on Query { hello }"
)
PAGED_DOUBLING = (
    "{ items(first: 1) { ...F0 } } "
    + " ".join(
        f"fragment F{i} on Item {{ a{i}: items(first: 1) {{ ...F{i + 1} }} b{i}: items(first: 1) {{ ...F{i + 1} }} }}"
        for i in range(60)
    )
    + " fragment F60 on Item { name }"
)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("{ items { " * 1 + "items { " * 15 + "name" + " }" * 17, "levels deep"),
        ("{" + " ".join(f"a{i}: hello" for i in range(129)) + "}", "aliases"),
        ("{ hello " + "@include(if: true) " * 51 + "}", "directives"),
        ("mutation {" + " ".join(f"m{i}: bump" for i in range(11)) + "}", "root fields"),
        ("{ items(first: 200) { items(first: 200) { name } } }", "smaller pages"),
        (PAGED_DOUBLING, ""),
        ("{" + "hello " * 3_000 + "}", "repeats fields"),
        ("{ hello } " + " ".join(f"fragment G{i} on Query {{ hello }}" for i in range(300)), "fragments"),
        ("{" + "a{" * 2_000 + "}" * 2_000 + "}", "nested"),
    ],
)
def test_operations_beyond_a_limit_are_refused(http: httpx.Client, query: str, words: str) -> None:
    response = run(http, query)  # walking every path would outlast the client's patience by far
    assert code_of(response) == "QUERY_TOO_COMPLEX"
    assert words in error_of(response)["message"]


def test_a_document_that_doubles_through_fragments_costs_no_more_than_its_text(http: httpx.Client) -> None:
    response = run(http, DOUBLING)
    assert response.status_code == 200


def test_too_many_tokens_and_circular_fragments_are_refused(http: httpx.Client) -> None:
    assert code_of(run(http, "{" + "hello " * 11_000 + "}")) == "QUERY_TOO_COMPLEX"
    circular = run(http, "{ ...A } fragment A on Query { ...B } fragment B on Query { ...A }")
    assert code_of(circular) == "BAD_USER_INPUT"


def test_cost_counts_variables(http: httpx.Client) -> None:
    query = "query($n: Int!) { items(first: $n) { items(first: $n) { name } } }"
    assert run(http, query, variables={"n": 10}).status_code == 200
    assert code_of(run(http, query, variables={"n": 200})) == "QUERY_TOO_COMPLEX"
    assert code_of(run(http, query, variables={"n": 10**15})) in ("QUERY_TOO_COMPLEX", "BAD_USER_INPUT")


def test_the_cost_of_an_operation_is_told_on_request(http: httpx.Client) -> None:
    query = "query ($n: Int!) { a: items(first: $n) { name } }"
    for headers, more in (({"X-Axonml-Cost": "1"}, {}), ({}, {"extensions": {"cost": True}})):
        body = {"query": query, "variables": {"n": 3}, **more}
        answer = http.post("/graphql", json=body, headers=headers).json()
        assert answer["data"]["a"] == [{"name": "0"}, {"name": "1"}, {"name": "2"}]
        assert answer["extensions"]["cost"] == {
            "requested": 4,
            "limit": LIMITS.graphql_cost,
            "depth": 2,
            "depthLimit": 15,
            "aliases": 1,
            "aliasLimit": 128,
            "directives": 0,
            "directiveLimit": 50,
            "rootFields": 1,
        }
        over = http.post("/graphql", json={**body, "variables": {"n": 50_000}}, headers=headers)
        assert code_of(over) == "QUERY_TOO_COMPLEX"
        assert over.json()["extensions"]["cost"]["requested"] == 50_001
    events = http.post(
        "/graphql",
        json={"query": "subscription { count(to: 2) }"},
        headers={"Accept": "text/event-stream", "X-Axonml-Cost": "1"},
    )
    first, second, _ = _events(events.text)
    assert first[1]["extensions"]["cost"]["requested"] == 1
    assert second[1] == {"data": {"count": 1}}
    for headers, extensions in (({}, {}), ({"X-Axonml-Cost": "0"}, {}), ({}, {"cost": 1}), ({}, {"unknown": True})):
        silent = http.post("/graphql", json={"query": "{ hello }", "extensions": extensions}, headers=headers)
        assert silent.json() == {"data": {"hello": "hello world"}}


def test_a_refusal_for_its_length_names_it_whatever_the_operation_is_called(http: httpx.Client) -> None:
    response = run(http, "query Q { hello } #" + "x" * 300_000, operationName="Q")
    assert code_of(response) == "QUERY_TOO_COMPLEX"


def test_an_operation_that_answers_nothing_says_when_to_try_again(http: httpx.Client) -> None:
    for query, wait in (
        ("{ busy }", "1"),
        ("{ busy(seconds: 2.2) }", "3"),
        ("{ busy(seconds: 90) hello }", "90"),
        ("{ limited }", None),  # its answer is partial: the error says it, the request is not to be repeated as a whole
        ("{ refuse }", None),
    ):
        assert run(http, query).headers.get("retry-after") == wait, query


def test_only_defects_are_errors_in_the_log(http: httpx.Client, log_lines: io.StringIO) -> None:
    refused = {
        "{ refuse }": "BAD_USER_INPUT",
        "{ nothing }": "BAD_USER_INPUT",
        "{": "BAD_USER_INPUT",
        "{ items { items { items { items { items { name } } } } } }": "QUERY_TOO_COMPLEX",
        "{ busy }": "UNAVAILABLE",
        "{ sleep(seconds: 5) }": "DEADLINE_EXCEEDED",
    }
    for query, code in refused.items():
        assert code_of(run(http, query)) == code, query
    assert [line for line in map(json.loads, log_lines.getvalue().splitlines()) if line["level"] == "error"] == []
    assert code_of(run(http, "{ boom }")) == "INTERNAL"
    (line,) = [line for line in map(json.loads, log_lines.getvalue().splitlines()) if line["level"] == "error"]
    assert "hunter2" in line["exception"]


def test_anonymous_callers_run_only_the_public_root_fields(served: Served) -> None:
    with httpx.Client(base_url=served.url) as anonymous:
        assert run(anonymous, "{ serverInfo __typename }").json()["data"]["serverInfo"] == "AxonML"
        assert run(anonymous, 'mutation { authLogin(email: "a") }').json() == {"data": {"authLogin": "a"}}
        anonymous.cookies.clear()
        for query in (
            "{ hello }",
            "{ serverInfo hello }",
            "{ nothing }",
            "{ ...F } fragment F on Query { ... on Query { hello } }",
            "mutation { bump }",
            "query A { serverInfo } query B { hello }",
            "query A { hello } query B { serverInfo }",
            "{ hello } query B { serverInfo }",
            "{ __schema { types { name } } }",
            '{ __type(name: "Query") { name } }',
            "{ hullo }",
        ):
            response = run(anonymous, query)
            assert "data" not in response.json()
            if "query B" not in query:
                assert (response.status_code, code_of(response)) == (401, "UNAUTHENTICATED"), query
            assert "Did you mean" not in response.text
        hint = run(anonymous, "{ serverInfo { x } }")
        assert code_of(hint) == "BAD_USER_INPUT"
        typo = run(anonymous, "{ ...F } fragment F on Quary { serverInfo }")
        assert "Did you mean" not in typo.text


def test_refused_credentials_still_reach_public_fields_and_say_why_elsewhere(served: Served) -> None:
    with httpx.Client(base_url=served.url, headers={"Authorization": "Bearer old"}) as http:
        assert run(http, "{ serverInfo }").status_code == 200
        response = run(http, "{ hello }")
        assert (response.status_code, code_of(response)) == (401, "UNAUTHENTICATED")
        assert response.headers["www-authenticate"].startswith("Bearer")


def test_signed_in_callers_may_explore(http: httpx.Client) -> None:
    assert run(http, "{ __schema { queryType { name } } }").json()["data"]["__schema"]["queryType"]["name"] == "Query"
    assert "Did you mean" in error_of(run(http, "{ hullo }"))["message"]


def test_login_sets_its_cookie_and_the_cookie_signs_in_from_our_own_origin_only(served: Served) -> None:
    with httpx.Client(base_url=served.url) as browser:
        own = {"Origin": served.url, "Sec-Fetch-Site": "same-origin"}
        assert (
            browser.post("/graphql", json={"query": 'mutation { authLogin(email: "a") }'}, headers=own).status_code
            == 200
        )
        assert browser.cookies["axonml_session"] == "good"
        assert browser.post("/graphql", json={"query": "{ me }"}, headers=own).json() == {
            "data": {"me": "alice@example.org"}
        }
        for foreign in (
            {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": served.url, "Sec-Fetch-Site": "same-site"},
            {},
        ):
            response = browser.post("/graphql", json={"query": "{ me }"}, headers=foreign)
            assert (response.status_code, code_of(response)) == (403, "FORBIDDEN"), foreign
        bearer = browser.post("/graphql", json={"query": "{ me }"}, headers={**own, "Authorization": "Bearer old"})
        assert bearer.status_code == 401


def test_every_operation_gets_a_fresh_context(http: httpx.Client) -> None:
    for _ in range(3):
        assert run(http, "{ operations }").json() == {"data": {"operations": 1}}


def _events(text: str) -> list[tuple[str, Any]]:
    events = []
    for block in text.replace("\r\n", "\n").strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line and not line.startswith(":"))
        if "event" in fields:
            events.append((fields["event"], json.loads(fields.get("data") or "null")))
    return events


def test_subscriptions_stream_over_sse(http: httpx.Client) -> None:
    headers = {"Accept": "text/event-stream"}
    response = http.post("/graphql", json={"query": "subscription { count(to: 3) }"}, headers=headers)
    assert response.headers["content-type"].startswith("text/event-stream")
    assert _events(response.text) == [*(("next", {"data": {"count": i}}) for i in range(3)), ("complete", None)]
    broken = http.post("/graphql", json={"query": "subscription { breaking }"}, headers=headers)
    assert "hunter2" not in broken.text
    last = _events(broken.text)[-2][1]
    assert last["errors"][0]["extensions"]["code"] == "INTERNAL"


def test_anonymous_sse_is_refused(served: Served) -> None:
    response = httpx.post(
        served.graphql, json={"query": "subscription { count(to: 3) }"}, headers={"Accept": "text/event-stream"}
    )
    events = _events(response.text)
    assert events[0][1]["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"
    assert "count" not in json.dumps([data for _, data in events if data and data.get("data")])


def test_sse_ends_when_the_server_stops() -> None:
    with (
        serving() as server,
        httpx.Client(timeout=30) as client,
        client.stream(
            "POST",
            server.graphql,
            json={"query": "subscription { endless }"},
            headers={**SIGNED_IN, "Accept": "text/event-stream"},
        ) as response,
    ):
        lines = response.iter_lines()
        assert next(line for line in lines if line.startswith("event")) == "event: next"
        server.call(server.connections.stop())
        assert "event: complete" not in list(lines)


def test_what_a_caller_wrote_is_never_logged(http: httpx.Client, log_lines: io.StringIO) -> None:
    run(http, '{ nothing(password: "canary-one") }')
    run(http, "query($n: Int!) { items(first: $n) { name } }", variables={"n": "canary-two"})
    run(http, '{ sleep(seconds: "canary-three") }')
    http.post("/graphql", json={"query": "{ boom }"}, headers={"Authorization": "Bearer canary-four"})
    run(http, "{ boom }")
    assert "RuntimeError" in log_lines.getvalue()
    assert "canary" not in log_lines.getvalue()
