"""The part of the graph about passkeys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import strawberry

from resolvers import passkeys as resolve
from resolvers.identity import SessionKind
from schema.identity import AuthPayload, Credential
from schema.runs import Deleted
from schema.scalars import JSON

if TYPE_CHECKING:
    from resolvers.context import Context


@strawberry.input
class WebauthnRegisterInput:
    name: str
    credential: JSON


@strawberry.input
class WebauthnStartInput:
    mfa_token: str | None = None


@strawberry.input
class WebauthnFinishInput:
    credential: JSON
    mfa_token: str | None = None
    session: SessionKind = SessionKind.TOKEN


@strawberry.input
class WebauthnCredentialDeleteInput:
    id: strawberry.ID
    password: str


async def _register_finish(
    info: strawberry.Info[Context, None], given: Annotated[WebauthnRegisterInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.register_finish(info.context, name=given.name, credential=given.credential)


async def _start(
    info: strawberry.Info[Context, None], given: Annotated[WebauthnStartInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.authenticate_start(info.context, mfa_token=given.mfa_token)


async def _finish(
    info: strawberry.Info[Context, None], given: Annotated[WebauthnFinishInput, strawberry.argument(name="input")]
) -> Any:
    return await resolve.authenticate_finish(
        info.context, mfa_token=given.mfa_token, credential=given.credential, session=given.session
    )


async def _delete(
    info: strawberry.Info[Context, None],
    given: Annotated[WebauthnCredentialDeleteInput, strawberry.argument(name="input")],
) -> Any:
    return await resolve.delete(info.context, passkey_id=str(given.id), password=given.password)


@strawberry.type
class PasskeyMutation:
    webauthn_register_start: Annotated[JSON, strawberry.mutation(resolver=resolve.register_start)]
    webauthn_register_finish: Annotated[Credential, strawberry.mutation(resolver=_register_finish)]
    webauthn_authenticate_start: Annotated[JSON, strawberry.mutation(resolver=_start)]
    webauthn_authenticate_finish: Annotated[AuthPayload, strawberry.mutation(resolver=_finish)]
    webauthn_credential_delete: Annotated[Deleted, strawberry.mutation(resolver=_delete)]
