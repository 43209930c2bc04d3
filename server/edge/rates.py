"""How often somebody may ask: by user or API key once they are known, and by address as long as they are not.

Every counter lives in this process, and every answer that was counted says in `RateLimit` what is left (IETF draft
ietf-httpapi-ratelimit-headers). Of several web processes each counts what it is asked; only what bounds guessing is
divided among them, so that more processes never mean more guesses.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Hashable
from typing import Final, cast

from starlette.types import Scope

from domain import access
from domain.access import Principal
from domain.errors import NotFound, RateLimited, Unauthenticated
from server.edge.addresses import place_of
from server.edge.bodies import is_batch
from server.edge.buckets import Buckets, Rate, parse_rate
from server.edge.identity import Authenticator, Credentials
from server.settings import RatesSettings

Headers = tuple[tuple[bytes, bytes], ...]

_ANSWER: Final = "axonml.rate"
_UNCOUNTED: Final = frozenset({"/health"})  # whoever asks whether the server lives must always hear it
# What a stranger tries passwords, tokens, codes and passkeys on, or has challenges stored by; the same by GraphQL.
_SIGN_IN: Final = frozenset(
    {
        "/api/auth/login",
        "/api/auth/register",
        "/api/auth/setup",
        "/api/auth/mfa/totp/verify",
        "/api/auth/mfa/recovery",
        "/api/auth/mfa/webauthn/authenticate/start",
        "/api/auth/mfa/webauthn/authenticate/finish",
    }
)
_REFRESH: Final = frozenset({"/api/auth/refresh"})
SIGN_IN_FIELDS: Final = frozenset(
    {
        "authLogin",
        "authRegister",
        "authSetup",
        "mfaTotpVerify",
        "recoveryCodeUse",
        "webauthnAuthenticateStart",
        "webauthnAuthenticateFinish",
    }
)
REFRESH_FIELDS: Final = frozenset({"authRefresh"})
REMEMBERED: Final = 10_000


def rate_headers(scope: Scope) -> Headers:
    """What the answer to this request says about the limit that it counted for."""
    return cast("Headers", scope.get(_ANSWER, ()))


class Limit:
    """One limit: its name on the wire, what it counts, and a bucket for everybody it holds for."""

    def __init__(self, name: str, what: str, rate: Rate | None, clock: Callable[[], float]) -> None:
        self._name = name
        self._what = what
        self._rate = rate
        self._buckets = Buckets(rate, clock=clock) if rate is not None else None
        policy = f'"{name}";q={rate.count};w={rate.seconds}' if rate is not None else ""
        self._policy = (b"ratelimit-policy", policy.encode())
        self._state = f'"{name}";r=%d;t=%d'.encode()

    def take(self, key: Hashable, cost: float = 1, *, scope: Scope | None = None) -> None:
        """Counts; the answer to `scope` will say what is left. Raises RateLimited."""
        if self._buckets is None:
            return
        wait, until_full = self._buckets.take(key, cost)
        if wait:
            raise self._refusal(wait, scope)
        if scope is not None:
            self._tell(scope, self._buckets.left(until_full), until_full)

    def check(self, key: Hashable, *, scope: Scope) -> None:
        """Raises RateLimited when nothing is left; counts nothing."""
        wait = self._buckets.wait(key) if self._buckets is not None else 0.0
        if wait:
            raise self._refusal(wait, scope)

    def _tell(self, scope: Scope, left: int, seconds: float) -> None:
        scope[_ANSWER] = (self._policy, (b"ratelimit", self._state % (left, _whole(seconds))))

    def _refusal(self, wait: float, scope: Scope | None) -> RateLimited:
        if scope is not None:
            self._tell(scope, 0, wait)
        assert self._rate is not None  # noqa: S101 - without a rate nobody waits
        return RateLimited(
            f"too many {self._what}: at most {self._rate.count} within {self._rate.seconds} s;"
            f" try again in {_whole(wait)} s",
            retry_after=round(wait, 6),
        )


def _whole(seconds: float) -> int:
    return math.ceil(seconds - 1e-6)  # less is what adding up fractions leaves


def _key(principal: Principal) -> str:
    """A script with a key of its own does not use up what its owner has at the browser."""
    return principal.api_key_id or principal.user_id


class Rates:
    """The limits of one web process, of `workers` that serve together."""

    def __init__(
        self, settings: RatesSettings, *, workers: int = 1, clock: Callable[[], float] = time.monotonic
    ) -> None:
        def limit(name: str, what: str, text: str, among: int = 1) -> Limit:
            rate = parse_rate(text)
            return Limit(name, what, rate.divided(among) if rate is not None else None, clock)

        self._requests = limit("requests", "requests of this user or API key", settings.requests)
        self._ingest = limit("ingest", "batches and predictions of this user or API key", settings.ingest)
        self._cost = limit("graphql-cost", "GraphQL fields of this user or API key", settings.graphql_cost)
        self._visitors = limit("visitors", "requests without credentials from this address", settings.visitors)
        self._sign_in = limit("sign-in", "attempts to sign in from this address", settings.sign_in, workers)
        self._refresh = limit("refresh", "renewals of sessions from this address", settings.refresh, workers)
        self._refused = limit("refused", "wrong credentials from this address", settings.refused, workers)
        self._proven: dict[int, None] = {}
        self._proven_before: dict[int, None] = {}

    def visit(self, scope: Scope) -> None:
        """Counts a request that nobody has signed. Raises RateLimited."""
        path = scope["path"]
        if path in _UNCOUNTED:
            return
        limit = self._visitors
        if scope["type"] == "http" and scope["method"] == "POST":
            limit = self._sign_in if path in _SIGN_IN else self._refresh if path in _REFRESH else limit
        limit.take(_place(scope), scope=scope)

    def request(self, scope: Scope, principal: Principal) -> None:
        """Counts a request of a known caller. Raises RateLimited."""
        batch = scope.get("method") == "POST" and is_batch(scope["path"])
        limit = self._ingest if batch else self._requests
        limit.take(_key(principal), scope=scope)

    def operation(self, principal: Principal) -> None:
        """Counts an operation on a socket like a request of its own. Raises RateLimited."""
        self._requests.take(_key(principal))

    def spend(self, principal: Principal, cost: int) -> None:
        """Counts what a GraphQL operation costs. Raises RateLimited."""
        self._cost.take(_key(principal), cost)

    def guess(self, root_names: frozenset[str], address: str | None, attempts: int) -> None:
        """Counts the attempts to sign in that a GraphQL operation makes. Raises RateLimited."""
        if root_names & SIGN_IN_FIELDS:
            limit = self._sign_in
        elif root_names & REFRESH_FIELDS:
            limit = self._refresh
        else:
            return
        for _ in range(attempts):  # one by one: all together, more than a bucket holds would pass for a full one
            limit.take(place_of(address))

    async def authenticate(self, authenticator: Authenticator, scope: Scope, credentials: Credentials) -> access.Scope:
        """Asks `authenticator` about `credentials`, unless its address has presented too much that was wrong.

        What was right a while ago is tried all the same, for one misguided script must not lock its neighbours out,
        and is no guess the first time that it is wrong: access tokens end every few minutes.
        Raises RateLimited, and what the authenticator raises.
        """
        mark = hash((credentials.authorization, credentials.session))
        proven = mark in self._proven or mark in self._proven_before
        if not proven:
            self._refused.check(_place(scope), scope=scope)
        try:
            found = await authenticator.authenticate(
                authorization=credentials.authorization,
                session=credentials.session,
                workspace=credentials.workspace,
            )
        except Unauthenticated:
            self._proven.pop(mark, None)
            self._proven_before.pop(mark, None)
            if not proven:
                self._refused.take(_place(scope), scope=scope)
            raise
        except NotFound:  # a foreign workspace: nobody's name to count it under
            self.visit(scope)
            raise
        if len(self._proven) >= REMEMBERED:
            self._proven, self._proven_before = {}, self._proven
        self._proven[mark] = None
        return found


def _place(scope: Scope) -> bytes:
    client = scope.get("client")
    return place_of(client[0] if client else None)
