"""`/api/auth/mfa/totp/...` and `/api/auth/mfa/recovery...`: parse, call the same use-case as the graph, encode."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from domain.errors import MethodNotAllowed
from server.edge.identity import client_of, request_id_of, scope_of
from server.rest.errors import error_response
from server.rest.handler import answer, json_body, optional_json_body, services_of
from server.rest.identity import signed_in
from server.rest.operations import second_factors as operations
from server.rest.route import Handler, Route
from server.rest.structs.second_factors import (
    RecoveryCodes,
    RecoveryUse,
    TotpEnableRequest,
    TotpSetup,
    TotpValid,
    TotpVerifyRequest,
)


async def _setup(request: Request) -> Response:
    made = await services_of(request).identity.totp.setup(scope_of(request))
    return answer(TotpSetup(secret=made.secret, qr_code=made.qr_code, otpauth_url=made.url))


async def _enable(request: Request) -> Response:
    given = await optional_json_body(request, TotpEnableRequest)
    made = await services_of(request).identity.totp.enable(scope_of(request), None if given is None else given.code)
    return answer(RecoveryCodes(recovery_codes=list(made.recovery_codes)))


async def _verify(request: Request) -> Response:
    """With a token of a first step whatever credentials came along do not matter."""
    given = await json_body(request, TotpVerifyRequest)
    totp = services_of(request).identity.totp
    if given.mfa_token is None:
        await totp.check(scope_of(request), given.code)
        return answer(TotpValid(valid=True))
    result = await totp.verify(mfa_token=given.mfa_token, code=given.code, client=client_of(request))
    return await signed_in(request, result, given.session)


async def _generate(request: Request) -> Response:
    made = await services_of(request).identity.recovery.generate(scope_of(request))
    return answer(RecoveryCodes(recovery_codes=list(made.recovery_codes)))


async def _use(request: Request) -> Response:
    given = await json_body(request, RecoveryUse)
    result = await services_of(request).identity.recovery.use(
        mfa_token=given.mfa_token, code=given.code, client=client_of(request)
    )
    return await signed_in(request, result, given.session)


def _refused(instead: str) -> Handler:
    problem = f"this changes state, so it does not work by GET; use POST {instead}"

    async def refuse(request: Request) -> Response:
        return error_response(MethodNotAllowed(problem), request_id_of(request.scope), headers={"Allow": "POST"})

    return refuse


ROUTES: Final[tuple[Route, ...]] = (
    Route(operations.TOTP_SETUP, _setup),
    Route(operations.TOTP_ENABLE, _enable),
    Route(operations.TOTP_VERIFY, _verify),
    Route(operations.RECOVERY_GENERATE, _generate),
    Route(operations.RECOVERY_USE, _use),
    Route(operations.TOTP_SETUP_GET, _refused(operations.TOTP_SETUP.path)),
    Route(operations.RECOVERY_GET, _refused(operations.RECOVERY_GENERATE.path)),
    Route(operations.RECOVERY_GENERATE_GET, _refused(operations.RECOVERY_GENERATE.path)),
)
