"""Queries by GET, and the rest of what the GraphQL-over-HTTP draft asks of a server, without the tools of others."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.wire.served import Served, serving

BEARER = {"Authorization": "Bearer good"}
SPEC = "application/graphql-response+json"
TYPENAME = {"query": "{ __typename }"}
NO_PARAMETERS = (0, 7, False, True, ["array"])


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as server:
        yield server


@pytest.fixture
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, headers=BEARER, timeout=30) as client:
        yield client


def ask(http: httpx.Client, headers: dict[str, str] | None = None, /, **parameters: str) -> httpx.Response:
    return http.get("/graphql", params=parameters, headers=headers)


def code_of(response: httpx.Response) -> str:
    return str(response.json()["errors"][0]["extensions"]["code"])


@pytest.mark.parametrize(
    ("accept", "kind"), [("*/*", "application/json"), ("application/json", "application/json"), (SPEC, SPEC)]
)
def test_a_query_runs_with_its_variables(http: httpx.Client, accept: str, kind: str) -> None:
    asked = {
        "query": "query Other { me } query Hello($n: String!) { hello(name: $n) }",
        "variables": json.dumps({"n": "you & ü"}),
        "operationName": "Hello",
    }
    response = ask(http, {"Accept": accept}, **asked)
    assert (response.status_code, response.json()) == (200, {"data": {"hello": "hello you & ü"}})
    assert response.headers["content-type"].split(";")[0] == kind
    assert "no-store" in response.headers["cache-control"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("mutation { bump }", "mutation"),
        ("query A { hello } mutation B { bump }", "mutation"),
        ("subscription { count(to: 1) }", "subscription"),
        ("mutation { ...F } fragment F on Mutation { bump }", "mutation"),
    ],
)
@pytest.mark.parametrize("accept", ["application/json", SPEC, "text/event-stream", "multipart/mixed"])
def test_nothing_but_a_query_runs(http: httpx.Client, query: str, words: str, accept: str) -> None:
    name = {"operationName": "B"} if "B {" in query else {}
    response = ask(http, {"Accept": accept}, query=query, **name)
    assert (response.status_code, code_of(response)) == (405, "METHOD_NOT_ALLOWED")
    assert response.headers["allow"] == "POST"
    assert words in response.json()["errors"][0]["message"]


def test_nothing_runs_in_the_name_of_a_cookie_or_of_a_remembered_password(served: Served) -> None:
    for headers in ({"Cookie": "axonml_session=good"}, {"Authorization": "Basic eDpnb29k"}):
        for site in ({}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}):
            response = httpx.get(served.graphql, params={"query": "{ me }"}, headers={**headers, **site})
            assert (response.status_code, code_of(response)) in ((403, "FORBIDDEN"), (401, "UNAUTHENTICATED")), headers
            assert "alice" not in response.text


def test_a_stranger_asks_for_what_is_public_only(served: Served) -> None:
    public = httpx.get(served.graphql, params={"query": "{ serverInfo }"})
    assert public.json() == {"data": {"serverInfo": "AxonML"}}
    response = httpx.get(served.graphql, params={"query": "{ me }"})
    assert (response.status_code, code_of(response)) == (401, "UNAUTHENTICATED")


@pytest.mark.parametrize(
    ("query_string", "field"),
    [
        ("", "query"),
        ("query=", "query"),
        ("query=%7Bhello%7D&query=%7Bme%7D", "query"),
        ("query=%7Bhello%7D&variables=x", "variables"),
        ("query=%7Bhello%7D&variables=%5B%5D", "variables"),
        ("query=%7Bhello%7D&variables=1", "variables"),
        ("query=%7Bhello%7D&extensions=%22x%22", "extensions"),
        ("query=%7Bhello%7D&operationName=Missing", "operationName"),
        ("query=%FF", None),
        ("&".join("a=b" for _ in range(20)), None),
    ],
)
def test_wrong_parameters_are_named(http: httpx.Client, query_string: str, field: str | None) -> None:
    response = http.get(f"/graphql?{query_string}")
    assert (response.status_code, code_of(response)) == (400, "BAD_USER_INPUT")
    assert response.json()["errors"][0]["extensions"].get("field") == field


def test_empty_parameters_count_as_none(http: httpx.Client) -> None:
    for more in ({"variables": "", "extensions": ""}, {"variables": "null", "extensions": "{}", "unknown": "x"}):
        response = ask(http, None, query="{ hello }", **more)
        assert response.json() == {"data": {"hello": "hello world"}}


def test_a_browser_gets_its_page_and_runs_nothing_by_it(http: httpx.Client) -> None:
    for parameters in ({}, TYPENAME, {"query": "mutation { bump }"}):
        page = http.get("/graphql", params=parameters, headers={"Accept": "text/html,*/*;q=0.8"})
        assert (page.status_code, page.text) == (200, "the page")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_other_methods_are_told_which_there_are(http: httpx.Client, method: str) -> None:
    response = http.request(method, "/graphql", params=TYPENAME, headers={"Accept": "application/json"})
    assert response.status_code == 405
    assert response.headers["allow"] == "GET, POST"


def test_what_was_asked_is_not_written_into_the_log(http: httpx.Client, log_lines: io.StringIO) -> None:
    ask(http, query='{ hello(name: "canary") }', variables='{"canary": 1}')
    ask(http, query="{ canary }")
    lines = [
        line for line in log_lines.getvalue().splitlines() if '"logger": "http' not in line
    ]  # not the client's own
    assert any("/graphql" in line for line in lines)
    assert not [line for line in lines if "canary" in line]


# What the audit of the reference implementation asks of every POST, in our words.


def post(http: httpx.Client, body: Any, accept: str = SPEC, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    kinds = {"Content-Type": "application/json", "Accept": accept}
    return http.post("/graphql", content=content, headers=kinds | headers)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (SPEC, SPEC),
        (f"{SPEC}, application/json", SPEC),
        ("application/json", "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("*/*", "application/json"),
    ],
)
def test_answers_are_utf8_of_the_accepted_kind(http: httpx.Client, accept: str, kind: str) -> None:
    response = post(http, TYPENAME, accept)
    assert (response.status_code, response.json()) == (200, {"data": {"__typename": "Query"}})
    assert response.headers["content-type"].split(";")[0] == kind
    assert "charset=utf-8" in response.headers["content-type"] or kind == "application/json"


@pytest.mark.parametrize("accept", [SPEC, "application/json"])
@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *((name, wrong) for name in ("query", "operationName") for wrong in (*NO_PARAMETERS, {"an": "object"})),
        *((name, wrong) for name in ("variables", "extensions") for wrong in (*NO_PARAMETERS, "string")),
    ],
)
def test_parameters_of_another_kind_are_400(http: httpx.Client, accept: str, name: str, wrong: Any) -> None:
    assert post(http, {**TYPENAME, name: wrong}, accept).status_code == 400


@pytest.mark.parametrize("name", ["variables", "operationName", "extensions"])
def test_null_counts_as_absent(http: httpx.Client, name: str) -> None:
    assert post(http, {**TYPENAME, name: None}).json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize(
    "body",
    [
        b"{ not json",
        b'{"qeury": "{ __typename }"}',
        {"query": "{"},
        {"query": "{ nothing }"},
        {"query": "query ($n: Int!) { items(first: $n) { name } }", "variables": {"n": "x"}},
    ],
)
def test_what_cannot_run_is_400_without_data(http: httpx.Client, body: Any) -> None:
    response = post(http, body)
    assert response.status_code == 400
    assert response.headers["content-type"].split(";")[0] in (SPEC, "application/json")
    assert "data" not in response.json()
    assert response.json()["errors"][0]["message"]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_a_body_that_is_not_called_json_is_415(http: httpx.Client, kind: str) -> None:
    assert post(http, TYPENAME, **{"Content-Type": kind}).status_code == 415
