"""The limits of one web process: who is counted under what, with the defaults and among several processes."""

from __future__ import annotations

from typing import Any

import pytest

from domain import access
from domain.access import Principal, UserRole
from domain.errors import NotFound, RateLimited, Unauthenticated, Unavailable
from server.edge.identity import Credentials
from server.edge.rates import Rates, rate_headers
from server.settings import RatesSettings
from tests.support.access import EDITOR

USER = Principal("usr_" + "a" * 32, "alice@example.org", UserRole.USER, session_id="ses_1")
SCRIPT = Principal(USER.user_id, USER.email, UserRole.USER, api_key_id="key_" + "b" * 32)
METRICS = "/api/training/runs/run_1/metrics"


class Time:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Known:
    """Knows some tokens. Implements the edge's Authenticator."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = tokens
        self.asked = 0

    async def authenticate(
        self, *, authorization: str | None = None, session: str | None = None, workspace: str | None = None
    ) -> access.Scope:
        self.asked += 1
        if authorization not in self.tokens and session not in self.tokens:
            raise Unauthenticated("the access token is not valid")
        if workspace is not None:
            raise NotFound("there is no such workspace")
        return access.Scope("wsp_" + "0" * 32, USER, EDITOR)


def request(method: str = "GET", path: str = "/", address: str = "203.0.113.9", kind: str = "http") -> dict[str, Any]:
    return {"type": kind, "method": method, "path": path, "client": (address, 1), "headers": []}


def allowed(rates: Rates, most: int, *scope: str) -> int:
    """How many requests without credentials pass, of at most `most`."""
    for number in range(most):
        try:
            rates.visit(request(*scope))
        except RateLimited:
            return number
    return most


def test_a_script_at_full_speed_is_not_slowed_down_by_the_defaults() -> None:
    time = Time()
    rates = Rates(RatesSettings(), clock=time)
    for _ in range(150_000):  # 10,000 batches in each of 15 seconds
        time.now += 0.0001
        rates.request(request("POST", METRICS), SCRIPT)
    scope = request("POST", METRICS)
    rates.request(scope, SCRIPT)
    assert int(dict(rate_headers(scope))[b"ratelimit"].split(b"r=")[1].split(b";")[0]) > 190_000


def test_passwords_and_tokens_are_guessed_slowly_by_the_defaults() -> None:
    time = Time()
    rates = Rates(RatesSettings(), clock=time)
    assert allowed(rates, 1_000, "POST", "/api/auth/login") == 30
    time.now += 300
    assert allowed(rates, 1_000, "POST", "/api/auth/setup") == 30
    assert allowed(rates, 10_000, "POST", "/api/auth/refresh") == 600


@pytest.mark.parametrize("workers", [1, 2, 4, 16])
def test_several_processes_together_allow_no_more_guesses_than_one(workers: int) -> None:
    together = [Rates(RatesSettings(sign_in="32/5m"), workers=workers, clock=Time()) for _ in range(workers)]
    assert sum(allowed(rates, 100, "POST", "/api/auth/login") for rates in together) == 32


@pytest.mark.parametrize("field", ["authLogin", "authRefresh"])
def test_an_operation_cannot_guess_more_often_than_a_bucket_holds(field: str) -> None:
    rates = Rates(RatesSettings(sign_in="5/1h", refresh="5/1h"), clock=Time())
    with pytest.raises(RateLimited):
        rates.guess(frozenset({field}), "203.0.113.9", 10)
    with pytest.raises(RateLimited):
        rates.guess(frozenset({field}), "203.0.113.9", 1)
    rates.guess(frozenset({field}), "203.0.113.10", 5)


def test_a_key_and_its_owner_are_counted_apart_and_batches_apart_from_the_rest() -> None:
    rates = Rates(RatesSettings(requests="2/1h", ingest="3/1h"), clock=Time())
    for path in (METRICS, "/api/inference/predict/digits", "/api/training/runs/run_1/logs"):
        rates.request(request("POST", path), SCRIPT)
    with pytest.raises(RateLimited, match=r"batches.*at most 3 within 3600 s"):
        rates.request(request("POST", METRICS), SCRIPT)
    for path in ("/api/models", "/graphql"):
        rates.request(request("POST", path), SCRIPT)
    for scope in (request("GET", METRICS), request("POST", "/api/training/runs"), request("DELETE", METRICS)):
        with pytest.raises(RateLimited, match="requests"):
            rates.request(scope, SCRIPT)
    rates.request(request("GET", METRICS), USER)
    rates.operation(USER)
    with pytest.raises(RateLimited):
        rates.operation(USER)


def test_what_is_left_is_told() -> None:
    time = Time()
    rates = Rates(RatesSettings(visitors="3/30s"), clock=time)
    told = []
    for _ in range(4):
        scope = request()
        try:
            rates.visit(scope)
        except RateLimited as problem:
            assert problem.retry_after == 10
        told.append(rate_headers(scope))
    policy = (b"ratelimit-policy", b'"visitors";q=3;w=30')
    states = [b'"visitors";r=2;t=10', b'"visitors";r=1;t=20', b'"visitors";r=0;t=30', b'"visitors";r=0;t=10']
    assert told == [(policy, (b"ratelimit", state)) for state in states]
    assert rate_headers(request()) == ()


def test_without_a_limit_nothing_is_counted_or_told() -> None:
    off = RatesSettings(
        requests="off", ingest="off", graphql_cost="off", visitors="off", sign_in="off", refresh="off", refused="off"
    )
    rates, scope = Rates(off), request("POST", "/api/auth/login")
    for _ in range(1_000):
        rates.visit(scope)
        rates.request(scope, USER)
        rates.spend(USER, 10**9)
        rates.guess(frozenset({"authLogin"}), None, 10)
    assert rate_headers(scope) == ()


async def test_wrong_credentials_are_no_longer_looked_at_and_proven_ones_still_are() -> None:
    time = Time()
    rates, identity = Rates(RatesSettings(refused="5/1m"), clock=time), Known("Bearer old", "Bearer new")
    await rates.authenticate(identity, request(), Credentials("Bearer old"))
    for number in range(5):
        with pytest.raises(Unauthenticated):
            await rates.authenticate(identity, request(), Credentials(f"Bearer wrong {number}"))
    asked = identity.asked
    for text in ("Bearer wrong", "Bearer new"):
        with pytest.raises(RateLimited):
            await rates.authenticate(identity, request(), Credentials(text))
    assert identity.asked == asked, "nobody was asked"
    await rates.authenticate(identity, request(), Credentials("Bearer old"))
    await rates.authenticate(identity, request(address="203.0.113.10"), Credentials("Bearer new"))
    time.now += 12
    with pytest.raises(Unauthenticated):
        await rates.authenticate(identity, request(), Credentials("Bearer wrong"))
    with pytest.raises(RateLimited):
        await rates.authenticate(identity, request(), Credentials("Bearer wrong"))


async def test_a_credential_that_was_proven_and_then_ended_is_counted_from_the_second_time() -> None:
    rates, identity = Rates(RatesSettings(refused="2/1h"), clock=Time()), Known("Bearer good")
    await rates.authenticate(identity, request(), Credentials("Bearer good"))
    identity.tokens = ()
    for _ in range(3):
        with pytest.raises(Unauthenticated):
            await rates.authenticate(identity, request(), Credentials("Bearer good"))
    with pytest.raises(RateLimited):
        await rates.authenticate(identity, request(), Credentials("Bearer good"))


async def test_asking_for_foreign_workspaces_is_counted_too() -> None:
    rates, identity = Rates(RatesSettings(visitors="2/1h"), clock=Time()), Known("Bearer good")
    for _ in range(2):
        with pytest.raises(NotFound):
            await rates.authenticate(identity, request(), Credentials("Bearer good", workspace="other"))
    with pytest.raises(RateLimited):
        await rates.authenticate(identity, request(), Credentials("Bearer good", workspace="other"))


async def test_what_the_server_cannot_tell_is_counted_against_nobody() -> None:
    class Away(Known):
        async def authenticate(self, **_: object) -> access.Scope:
            raise Unavailable("the database is away")

    rates = Rates(RatesSettings(visitors="1/1h", refused="1/1h"), clock=Time())
    for _ in range(3):
        with pytest.raises(Unavailable):
            await rates.authenticate(Away(), request(), Credentials("Bearer good"))
    rates.visit(request())


def test_nothing_but_batches_and_predictions_has_their_bucket() -> None:
    rates = Rates(RatesSettings(requests="1/1h"), clock=Time())
    rates.request(request("POST", "/api/training/runs/run_1/anything/log"), SCRIPT)
    with pytest.raises(RateLimited):
        rates.request(request("POST", "/api/inference/predict/a/b"), SCRIPT)
