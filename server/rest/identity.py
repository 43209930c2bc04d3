"""`/api/auth/...`: signing in and out, the caller, API keys.

Thin: parse, call the same use-case as the graph, encode.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType
from starlette.requests import Request
from starlette.responses import Response

from domain import identity as domain
from domain.errors import BadUserInput, Unauthenticated
from domain.identity import AuthResult, Identity, KeyExpiry
from domain.paging import PageRequest
from schema.scalars import read_datetime, write_datetime
from server.edge.cookies import Cookies, read
from server.edge.identity import client_of, request_id_of, scope_of
from server.rest.errors import error_response
from server.rest.handler import answer, json_body, no_content, optional_json_body, query
from server.rest.operations import auth as operations
from server.rest.route import Route
from server.rest.structs.auth import (
    ApiKey,
    ApiKeyCreate,
    ApiKeyCreated,
    ApiKeyList,
    LoginRequest,
    MfaChallenge,
    RefreshRequest,
    SessionMode,
    SetupRequest,
    TokenPair,
    User,
    UserRole,
)


class _KeysQuery(Struct):
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    offset: Annotated[int, Meta(ge=0, le=10_000)] = 0
    cursor: Annotated[str, Meta(min_length=1, max_length=2_048)] | None = None


async def _setup(request: Request) -> Response:
    given = await json_body(request, SetupRequest)
    result = await _identity(request).founder.found(
        token=given.token, email=given.email, password=given.password, name=given.name, client=client_of(request)
    )
    return await signed_in(request, result, given.session, 201)


async def _login(request: Request) -> Response:
    given = await json_body(request, LoginRequest)
    result = await _identity(request).sign_in.by_password(
        email=given.email, password=given.password, client=client_of(request)
    )
    return await signed_in(request, result, given.session)


async def _refresh(request: Request) -> Response:
    """A token from the body is answered with tokens, one from the cookie with cookies."""
    given = await optional_json_body(request, RefreshRequest)
    if given is not None and given.refresh_token is not None:
        return _tokens(request, await _identity(request).sessions.refresh(given.refresh_token), SessionMode.TOKEN)
    cookies = _cookies(request)
    kept = read(request.scope).get(cookies.refresh_name)
    if kept is None:
        raise Unauthenticated("there is no refresh token: neither in the body nor in a cookie", field="refresh_token")
    try:
        result = await _identity(request).sessions.refresh(kept)
    except Unauthenticated as problem:
        response = error_response(problem, request_id_of(request.scope))
        cookies.clear(response)
        return response
    return _tokens(request, result, SessionMode.COOKIE)


async def _logout(request: Request) -> Response:
    await _identity(request).sessions.logout(scope_of(request))
    response = no_content()
    _cookies(request).clear(response)
    return response


async def _me(request: Request) -> Response:
    return answer(user_answer(request, await _identity(request).viewer(scope_of(request))))


async def _keys(request: Request) -> Response:
    asked = query(request, _KeysQuery)
    if asked.cursor is not None and asked.offset:
        raise BadUserInput("give either a cursor or an offset, not both", field="offset")
    page = await _identity(request).keys.page(
        scope_of(request), PageRequest.of(asked.limit, asked.cursor), asked.offset
    )
    following = page.page_info.end_cursor if page.has_next_page else None
    items = [key_answer(key) for key in page.nodes]
    return answer(ApiKeyList(items=items, total=page.total_count, next_cursor=following))


async def _key_create(request: Request) -> Response:
    given = await json_body(request, ApiKeyCreate)
    made = await _identity(request).keys.create(
        scope_of(request),
        name=given.name,
        scopes=[scope.value for scope in given.scopes],
        expires_at=_expiry(given.expires_at),
    )
    return answer(ApiKeyCreated(secret=made.secret, api_key=key_answer(made.api_key)), 201)


async def _key_revoke(request: Request) -> Response:
    await _identity(request).keys.revoke(scope_of(request), request.path_params["id"])
    return no_content()


ROUTES: Final[tuple[Route, ...]] = (
    Route(operations.SETUP, _setup),
    Route(operations.LOGIN, _login),
    Route(operations.REFRESH, _refresh),
    Route(operations.LOGOUT, _logout),
    Route(operations.ME, _me),
    Route(operations.KEYS_LIST, _keys),
    Route(operations.KEY_CREATE, _key_create),
    Route(operations.KEY_REVOKE, _key_revoke),
)


def user_answer(request: Request, user: domain.User) -> User:
    """A user as REST shows it."""
    return User(
        id=user.id,
        email=user.email,
        name=user.name,
        role=UserRole(user.role.value),
        mfa_enabled=user.mfa_enabled,
        must_change_password=user.must_change_password,
        must_add_factor=_identity(request).must_add_factor(user),
        created_at=write_datetime(user.created_at),
        last_login_at=_time(user.last_login_at),
    )


def key_answer(key: domain.ApiKey) -> ApiKey:
    """An API key as REST shows it."""
    return ApiKey(
        id=key.id,
        name=key.name,
        prefix=key.prefix,
        scopes=key.scopes,
        created_at=write_datetime(key.created_at),
        expires_at=_time(key.expires_at),
        last_used_at=_time(key.last_used_at),
        revoked_at=_time(key.revoked_at),
    )


async def signed_in(request: Request, result: AuthResult, session: SessionMode, status: int = 200) -> Response:
    """The answer to a sign-in: its tokens, or the call for a second factor.

    Tokens come as cookies if so wished, which end the session of those that came.
    """
    if result.mfa_token is not None:
        return answer(MfaChallenge(requires_mfa=True, mfa_token=result.mfa_token))
    if session is SessionMode.COOKIE:
        await _identity(request).sessions.replaced(_cookies(request).presented(request.scope))
    return _tokens(request, result, session, status)


def _tokens(request: Request, result: AuthResult, session: SessionMode, status: int = 200) -> Response:
    in_cookies = session is SessionMode.COOKIE
    tokens = result.tokens
    shown: dict[str, Any] = {} if in_cookies else {"token": tokens.access, "refresh_token": tokens.refresh}
    pair = TokenPair(**shown, expires_in=tokens.expires_in, user=user_answer(request, result.person))
    response = answer(pair, status)
    if in_cookies:
        _cookies(request).keep(response, tokens)
    return response


def _expiry(given: str | UnsetType | None) -> datetime | KeyExpiry | None:
    if given is UNSET:
        return KeyExpiry.DEFAULT
    if not isinstance(given, str):
        return None
    try:
        return read_datetime(given)
    except ValueError as problem:
        raise BadUserInput(str(problem), field="expires_at") from None


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else write_datetime(moment)


def _identity(request: Request) -> Identity:
    found: Identity = request.app.state.services.identity
    return found


def _cookies(request: Request) -> Cookies:
    found: Cookies = request.app.state.cookies
    return found
