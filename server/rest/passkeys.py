"""`/api/auth/mfa/webauthn/...`: passkeys. Thin: parse, call the same use-case as the graph, encode."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from domain.identity.factors import Credential
from domain.identity.passkey_ports import Ceremony
from domain.identity.passkeys import Passkeys
from schema.scalars import write_datetime
from server.edge.identity import client_of, scope_of
from server.rest.handler import answer, json_body, no_content, optional_json_body, services_of
from server.rest.identity import signed_in
from server.rest.operations import passkeys as operations
from server.rest.route import Route
from server.rest.structs.passkeys import (
    WebauthnAuthenticateStart,
    WebauthnCredential,
    WebauthnCredentialDelete,
    WebauthnFinish,
    WebauthnOptions,
    WebauthnRegistered,
    WebauthnRegisterFinish,
)


async def _register_start(request: Request) -> Response:
    return _begun(await _passkeys(request).start_registration(scope_of(request)))


async def _register_finish(request: Request) -> Response:
    given = await json_body(request, WebauthnRegisterFinish)
    made = await _passkeys(request).finish_registration(
        scope_of(request), name=given.name, credential=given.credential, ceremony_id=given.ceremony_id
    )
    return answer(WebauthnRegistered(credential=_credential(made)), 201)


async def _authenticate_start(request: Request) -> Response:
    given = await optional_json_body(request, WebauthnAuthenticateStart)
    return _begun(await _passkeys(request).start(None if given is None else given.mfa_token))


async def _authenticate_finish(request: Request) -> Response:
    given = await json_body(request, WebauthnFinish)
    result = await _passkeys(request).finish(
        mfa_token=given.mfa_token,
        credential=given.credential,
        ceremony_id=given.ceremony_id,
        client=client_of(request),
    )
    return await signed_in(request, result, given.session)


async def _delete(request: Request) -> Response:
    given = await json_body(request, WebauthnCredentialDelete)
    await _passkeys(request).delete(scope_of(request), request.path_params["id"], password=given.password)
    return no_content()


ROUTES: Final[tuple[Route, ...]] = (
    Route(operations.REGISTER_START, _register_start),
    Route(operations.REGISTER_FINISH, _register_finish),
    Route(operations.AUTHENTICATE_START, _authenticate_start),
    Route(operations.AUTHENTICATE_FINISH, _authenticate_finish),
    Route(operations.DELETE, _delete),
)


def _begun(ceremony: Ceremony) -> Response:
    return answer(WebauthnOptions(ceremony_id=ceremony.id, options=dict(ceremony.options)))


def _credential(made: Credential) -> WebauthnCredential:
    used = made.last_used_at
    return WebauthnCredential(
        id=made.id,
        name=made.name,
        created_at=write_datetime(made.created_at),
        last_used_at=None if used is None else write_datetime(used),
    )


def _passkeys(request: Request) -> Passkeys:
    return services_of(request).identity.passkeys
