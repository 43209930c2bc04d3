"""Second factors, recovery codes, the own password and sessions: from fields to the use-cases of identity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import strawberry

from domain import ids
from domain.identity import AuthResult, User
from domain.identity.factors import RecoveryCodes, TotpSetup
from resolvers.identity import LoggedOut, SessionKind, check_kind, handed_over
from resolvers.runs import Deleted

if TYPE_CHECKING:
    from resolvers.context import Context


# --- completing a sign-in ------------------------------------------------------------------------


async def totp_verify(context: Context, *, mfa_token: str, code: str, session: SessionKind) -> AuthResult:
    """Completes a sign-in by a time-based code."""
    check_kind(context, session)
    result = await context.services.identity.totp.verify(mfa_token=mfa_token, code=code, client=context.client)
    return await handed_over(context, result, session)


async def recovery_use(context: Context, *, mfa_token: str, code: str, session: SessionKind) -> AuthResult:
    """Completes a sign-in by a recovery code."""
    check_kind(context, session)
    result = await context.services.identity.recovery.use(mfa_token=mfa_token, code=code, client=context.client)
    return await handed_over(context, result, session)


# --- the caller's own factors --------------------------------------------------------------------


async def totp_setup(info: strawberry.Info[Context, None]) -> TotpSetup:
    """A new secret."""
    return await info.context.services.identity.totp.setup(info.context.require_scope())


async def totp_enable(context: Context, *, code: str | None) -> RecoveryCodes:
    """Turns time-based codes on."""
    return await context.services.identity.totp.enable(context.require_scope(), code)


async def totp_disable(context: Context, *, password: str) -> User:
    """Turns them off."""
    return await context.services.identity.totp.disable(context.require_scope(), password=password)


async def recovery_generate(context: Context, *, password: str) -> RecoveryCodes:
    """New recovery codes."""
    return await context.services.identity.recovery.generate(context.require_scope(), password=password)


async def password_change(context: Context, *, current: str, new: str) -> User:
    """Another password."""
    return await context.services.identity.password.change(context.require_scope(), current=current, new=new)


# --- sessions ------------------------------------------------------------------------------------


async def logout_all(info: strawberry.Info[Context, None]) -> LoggedOut:
    """Ends every session of the caller, and removes the cookies of this one."""
    context = info.context
    await context.services.identity.sessions.logout_all(context.require_scope())
    if context.cookies is not None:
        context.cookies.clear()
    return LoggedOut()


async def session_revoke(context: Context, *, session_id: str) -> Deleted:
    """Ends one session."""
    await context.services.identity.sessions.revoke(context.require_scope(), session_id)
    return Deleted(ids.parse("ses", session_id))
