"""What the scanner graphql-cop looks for, each against the product, for strangers and for people who are signed in."""

from __future__ import annotations

import time
from typing import Any

import httpx

from server.settings import LimitsSettings
from tests.support.product import Product

LIMITS = LimitsSettings()
BLINK = 3.0
"""Seconds in which a refusal must come, also on a busy machine."""

EVERYBODY = (False, True)
"""Strangers, and people who are signed in."""


async def ask(product: Product, query: Any, *, signed_in: bool, **options: Any) -> httpx.Response:
    headers = product.headers if signed_in else {}
    started = time.perf_counter()
    answer = await product.http.post("/graphql", json={"query": query}, headers=headers, **options)
    assert time.perf_counter() - started < BLINK
    return answer


def codes(answer: httpx.Response) -> set[str]:
    return {error["extensions"]["code"] for error in answer.json()["errors"]}


async def test_alias_overloading(product: Product) -> None:
    for signed_in in EVERYBODY:
        many = " ".join(f"alias{n}: __typename" for n in range(LIMITS.graphql_aliases + 1))
        answer = await ask(product, f"{{ {many} }}", signed_in=signed_in)
        assert codes(answer) == {"QUERY_TOO_COMPLEX"}
        logins = " ".join(
            f'a{n}: authLogin(input: {{email: "ada@example.com", password: "{n}"}}) {{ token }}' for n in range(11)
        )
        guesses = await ask(product, f"mutation {{ {logins} }}", signed_in=signed_in)
        assert codes(guesses) == {"QUERY_TOO_COMPLEX"}, "one request is not a hundred guesses"


async def test_array_based_batching(product: Product) -> None:
    for signed_in in EVERYBODY:
        headers = product.headers if signed_in else {}
        batch = [{"query": "{ __typename }"}] * 10
        answer = await product.http.post("/graphql", json=batch, headers=headers)
        assert (answer.status_code, codes(answer)) == (400, {"BAD_USER_INPUT"})


async def test_directive_overloading(product: Product) -> None:
    for signed_in in EVERYBODY:
        unknown = await ask(product, "{ __typename " + "@aa" * 10 + " }", signed_in=signed_in)
        assert codes(unknown) == {"BAD_USER_INPUT"}
        for directive in ("@aa", "@include(if: true) ", "@skip(if: false) "):
            many = directive * (LIMITS.graphql_directives + 1)
            assert codes(await ask(product, f"{{ __typename {many} }}", signed_in=signed_in)) == {"QUERY_TOO_COMPLEX"}


async def test_field_duplication(product: Product) -> None:
    for signed_in in EVERYBODY:
        assert codes(await ask(product, "{ " + "__typename \n" * 500 + "}", signed_in=signed_in)) == {
            "QUERY_TOO_COMPLEX"
        }


async def test_circular_introspection(product: Product) -> None:
    for signed_in in EVERYBODY:
        around = "{ __schema { types { " + "fields { type { " * 4 + "name" + " } }" * 4 + " } } }"
        answer = await ask(product, around, signed_in=signed_in)
        assert "data" not in answer.json()
        assert codes(answer) == ({"BAD_USER_INPUT"} if signed_in else {"UNAUTHENTICATED"})


async def test_circular_fragments(product: Product) -> None:
    for signed_in in EVERYBODY:
        around = "{ ...A } fragment A on Query { __typename ...B } fragment B on Query { __typename ...A }"
        answer = await ask(product, around, signed_in=signed_in)
        assert codes(answer) == {"BAD_USER_INPUT"}
        assert "within itself" in answer.json()["errors"][0]["message"]


async def test_introspection(product: Product) -> None:
    for signed_in in EVERYBODY:
        for query in ("{ __schema { types { name } } }", '{ __type(name: "User") { name } }'):
            answer = await ask(product, query, signed_in=signed_in)
            assert ("data" in answer.json()) is signed_in
            assert signed_in or (answer.status_code, codes(answer)) == (401, {"UNAUTHENTICATED"})


async def test_suggestions(product: Product) -> None:
    for query in (
        "{ serverInfo { nam } }",
        "{ serverInf { name } }",
        "{ ...F } fragment F on Quer { serverInfo { name } }",
        "{ serverInfo { name @includ(if: true) } }",
        'mutation { authLogin(input: {emai: "a", password: "b"}) { token } }',
        'mutation { authLogin(inpt: {email: "a", password: "b"}) { token } }',
        'mutation { authLogin(input: {email: "a", password: "b", session: COOKI}) { token } }',
        "mutation ($i: AuthLoginInpu!) { authLogin(input: $i) { token } }",
    ):
        answer = await ask(product, query, signed_in=False)
        assert codes(answer) <= {"BAD_USER_INPUT", "UNAUTHENTICATED"}
        assert "did you mean" not in answer.text.lower(), query
    helped = await ask(product, "{ viewr { id } }", signed_in=True)
    assert "Did you mean" in helped.text
    variables = {"i": {"emai": "a", "password": "b", "session": "COOKI"}}
    coerced = await product.http.post(
        "/graphql",
        json={
            "query": "mutation ($i: AuthLoginInput!) { authLogin(input: $i) { token } }",
            "variables": variables,
        },
    )
    assert codes(coerced) == {"BAD_USER_INPUT"}
    assert "did you mean" not in coerced.text.lower()


async def test_mutations_by_get(product: Product) -> None:
    for signed_in in EVERYBODY:
        headers = product.headers if signed_in else {}
        for query in ("mutation { __typename }", "mutation { authLogoutAll { ended } }"):
            answer = await product.http.get("/graphql", params={"query": query}, headers=headers)
            assert (answer.status_code, codes(answer)) == (405, {"METHOD_NOT_ALLOWED"})
            assert answer.headers["allow"] == "POST"
        assert (await product.rest("GET", "/api/auth/me")).status_code == 200


async def test_queries_by_get_are_nobodys_unless_a_page_cannot_have_sent_them(product: Product) -> None:
    account = {"email": "ada@example.com", "password": "violet-otter-7-canoe-drift", "session": "cookie"}
    await product.http.post("/api/auth/login", json=account)
    asked = {"query": "{ viewer { email } }"}
    by_cookie = await product.http.get("/graphql", params=asked)
    assert (by_cookie.status_code, codes(by_cookie)) == (403, {"FORBIDDEN"})
    product.http.cookies.clear()
    stranger = await product.http.get("/graphql", params=asked)
    assert (stranger.status_code, codes(stranger)) == (401, {"UNAUTHENTICATED"})
    by_token = await product.http.get("/graphql", params=asked, headers=product.headers)
    assert by_token.json() == {"data": {"viewer": {"email": "ada@example.com"}}}


async def test_forms_are_no_requests(product: Product) -> None:
    for signed_in in EVERYBODY:
        headers = product.headers if signed_in else {}
        for sent in (
            {"data": {"query": "{ __typename }"}},
            {"files": {"operations": (None, '{"query": "{ __typename }"}'), "map": (None, "{}")}},
            {"content": '{"query": "{ __typename }"}', "headers": {"Content-Type": "text/plain"}},
        ):
            options = {**sent, "headers": {**headers, **sent.get("headers", {})}}  # type: ignore[dict-item]
            answer = await product.http.post("/graphql", **options)  # type: ignore[arg-type]
            assert (answer.status_code, codes(answer)) == (415, {"UNSUPPORTED_MEDIA_TYPE"})


async def test_traces_and_debugging(product: Product) -> None:
    for signed_in in EVERYBODY:
        answer = await ask(product, "{ __typename }", signed_in=signed_in)
        assert answer.json() == {"data": {"__typename": "Query"}}
        for name in ("X-Apollo-Tracing", "X-Debug", "Apollo-Federation-Include-Trace", "X-Hasura-Role"):
            headers = {**(product.headers if signed_in else {}), name: "ftv1"}
            traced = await product.http.post("/graphql", json={"query": "{ __typename }"}, headers=headers)
            assert traced.json() == {"data": {"__typename": "Query"}}


async def test_graphiql_shows_nothing_to_strangers(product: Product) -> None:
    page = await product.http.get("/graphql", headers={"Accept": "text/html"})
    assert page.status_code == 200, "the page itself carries no data; every operation it sends is checked"
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for path in ("/graphiql", "/playground", "/console", "/v1/graphiql", "/graphql/console", "/altair", "/explorer"):
        other = await product.http.get(path, headers={"Accept": "text/html"})
        assert other.status_code in (401, 404), path


async def test_errors_are_handled(product: Product) -> None:
    for signed_in in EVERYBODY:
        answer = await ask(product, "qwerty cop { abc }", signed_in=signed_in)
        (error,) = answer.json()["errors"]
        assert set(error) <= {"message", "locations", "extensions"}
        assert set(error["extensions"]) == {"code", "requestId"}
        assert error["extensions"]["code"] == "BAD_USER_INPUT"
        for word in ("Traceback", "exception", "stacktrace", 'File "', ".py"):
            assert word not in answer.text
