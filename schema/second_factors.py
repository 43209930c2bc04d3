"""The part of the graph about second factors, recovery codes, the own password and sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from resolvers import second_factors as resolve
from resolvers.identity import SessionKind
from schema.identity import AuthLogoutPayload, AuthPayload, User
from schema.runs import Deleted

if TYPE_CHECKING:
    from resolvers.context import Context


@strawberry.type
class TotpSetup:
    secret: str
    url: str
    qr_code: str


@strawberry.type
class RecoveryCodes:
    recovery_codes: list[str]


@strawberry.input
class IdInput:
    id: strawberry.ID


@strawberry.input
class TotpCodeInput:
    code: str | None = None


@strawberry.input
class MfaCodeInput:
    mfa_token: str
    code: str
    session: SessionKind = SessionKind.TOKEN


@strawberry.input
class PasswordInput:
    password: str


@strawberry.input
class PasswordChangeInput:
    current: str
    new: str


async def _totp_enable(
    info: strawberry.Info[Context, None], given: Annotated[TotpCodeInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.totp_enable(info.context, code=given.code)


async def _totp_verify(
    info: strawberry.Info[Context, None], given: Annotated[MfaCodeInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.totp_verify(info.context, mfa_token=given.mfa_token, code=given.code, session=given.session)


async def _totp_disable(
    info: strawberry.Info[Context, None], given: Annotated[PasswordInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.totp_disable(info.context, password=given.password)


async def _recovery_generate(
    info: strawberry.Info[Context, None], given: Annotated[PasswordInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.recovery_generate(info.context, password=given.password)


async def _recovery_use(
    info: strawberry.Info[Context, None], given: Annotated[MfaCodeInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.recovery_use(info.context, mfa_token=given.mfa_token, code=given.code, session=given.session)


async def _password_change(
    info: strawberry.Info[Context, None], given: Annotated[PasswordChangeInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.password_change(info.context, current=given.current, new=given.new)


async def _session_revoke(
    info: strawberry.Info[Context, None], given: Annotated[IdInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.session_revoke(info.context, session_id=str(given.id))


@strawberry.type
class SecondFactorMutation:
    auth_logout_all: Annotated[AuthLogoutPayload, strawberry.mutation(resolver=resolve.logout_all)]
    mfa_totp_setup: Annotated[TotpSetup, strawberry.mutation(resolver=resolve.totp_setup)]
    mfa_totp_enable: Annotated[RecoveryCodes, strawberry.mutation(resolver=_totp_enable)]
    mfa_totp_verify: Annotated[AuthPayload, strawberry.mutation(resolver=_totp_verify)]
    mfa_totp_disable: Annotated[User, strawberry.mutation(resolver=_totp_disable)]
    recovery_codes_generate: Annotated[RecoveryCodes, strawberry.mutation(resolver=_recovery_generate)]
    recovery_code_use: Annotated[AuthPayload, strawberry.mutation(resolver=_recovery_use)]
    password_change: Annotated[User, strawberry.mutation(resolver=_password_change)]
    session_revoke: Annotated[Deleted, strawberry.mutation(resolver=_session_revoke)]
