"""Passkeys: from fields to the use-cases of identity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import strawberry

from domain.identity import AuthResult
from domain.identity.factors import Credential
from resolvers.identity import SessionKind, check_kind, handed_over
from resolvers.runs import Deleted

if TYPE_CHECKING:
    from resolvers.context import Context


async def register_start(info: strawberry.Info[Context, None]) -> Any:
    """The options of a registration."""
    context = info.context
    begun = await context.services.identity.passkeys.start_registration(context.require_scope())
    return begun.options


async def register_finish(context: Context, *, name: str, credential: object) -> Credential:
    """Keeps a passkey of the caller."""
    return await context.services.identity.passkeys.finish_registration(
        context.require_scope(), name=name, credential=credential
    )


async def authenticate_start(context: Context, *, mfa_token: str | None) -> Any:
    """The options of a sign-in."""
    return (await context.services.identity.passkeys.start(mfa_token)).options


async def authenticate_finish(
    context: Context, *, mfa_token: str | None, credential: object, session: SessionKind
) -> AuthResult:
    """Signs a user in."""
    check_kind(context, session)
    result = await context.services.identity.passkeys.finish(
        mfa_token=mfa_token, credential=credential, client=context.client
    )
    return await handed_over(context, result, session)


async def delete(context: Context, *, passkey_id: str, password: str) -> Deleted:
    """Removes a passkey of the caller."""
    passkeys = context.services.identity.passkeys
    return Deleted(await passkeys.delete(context.require_scope(), passkey_id, password=password))
