"""Sessions: opened, renewed, listed, ended. A session is a row; its tokens only point at it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from domain import audit, ids
from domain.access import Scope, UserRole
from domain.errors import Forbidden, MfaRequired, NotFound, Unauthenticated
from domain.identity.authentication import Authentication
from domain.identity.entities import (
    AuthResult,
    ClientInfo,
    NewSession,
    Session,
    SessionPolicy,
    SessionRecord,
    Tokens,
    User,
)
from domain.identity.factors import Assurance
from domain.identity.ports import AccessTokens, OpenConnections, RefreshTokens, SessionRepository

PROVED_WITHIN: Final = timedelta(hours=1)
WRONG_REFRESH: Final = "the refresh token is not valid or its session has ended; sign in again"


class Sessions:
    """The use-cases of sessions. Whoever ends one ends what it holds open, too."""

    def __init__(
        self,
        *,
        repository: SessionRepository,
        authentication: Authentication,
        access_tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
        connections: OpenConnections,
        policy: SessionPolicy,
        now: Callable[[], datetime],
    ) -> None:
        self._repository = repository
        self._authentication = authentication
        self._access_tokens = access_tokens
        self._refresh_tokens = refresh_tokens
        self._connections = connections
        self._policy = policy
        self.now = now

    # --- opening and renewing ------------------------------------------------------------------------

    def new(self, client: ClientInfo, assurance: Assurance) -> NewSession:
        """A session about to be stored."""
        session_id, now = ids.new("ses"), self.now()
        return NewSession(
            id=session_id,
            refresh_key=self._refresh_tokens.new_key(session_id),
            created_at=now,
            expires_at=now + self._policy.absolute,
            client=client.cleaned(),
            assurance=assurance,
        )

    def opened(self, user: User, session: NewSession) -> AuthResult:
        """The first tokens of a session that was stored."""
        refresh = self._refresh_tokens.issue(session.id, 0, session.refresh_key)
        return AuthResult(user, self._tokens(user.id, session.id, refresh, session.created_at, session.expires_at))

    async def refresh(self, refresh_token: str) -> AuthResult:
        """The next pair of tokens. The same trade within the grace answers the same refresh token again.

        An older token than that was copied by somebody: it ends the session. Raises Unauthenticated.
        """
        presented = self._refresh_tokens.parse(refresh_token)
        record = None if presented is None else await self._repository.session(presented.session_id)
        if presented is None or record is None or not self._refresh_tokens.genuine(presented, record.refresh_key):
            raise Unauthenticated(WRONG_REFRESH)
        now = self.now()
        if await self._repository.advance(record.id, presented.counter, now, self._policy.idle):
            return self._refreshed(record, presented.counter + 1, now)
        current = await self._repository.session(record.id)
        if current is None or not current.alive(now, self._policy.idle):
            raise Unauthenticated(WRONG_REFRESH)
        if (
            presented.counter == current.refresh_counter - 1
            and now <= current.refreshed_at + self._policy.refresh_grace
        ):
            return self._refreshed(current, current.refresh_counter, now)
        if presented.counter < current.refresh_counter:
            audit.concerning(record.account.user.id)
            audit.reused(record.id)
            await self._end(record.id, "refresh_reuse")
        raise Unauthenticated(WRONG_REFRESH)

    # --- who may change credentials ------------------------------------------------------------------

    async def current(self, scope: Scope) -> SessionRecord:
        """The caller's session as it is now. Raises Forbidden for API keys, Unauthenticated when it has ended."""
        record = await self._repository.session(_session_of(scope))
        if record is None or not record.alive(self.now(), self._policy.idle):
            raise Unauthenticated("the session has ended; sign in again")
        return record

    async def require_proven(self, scope: Scope) -> SessionRecord:
        """The caller's session, fit to change what they sign in with.

        Raises Forbidden for API keys, and MfaRequired when the account has a second factor that this session was
        opened without.
        """
        record = await self.current(scope)
        if record.account.factors and record.assurance.level < 2:
            raise MfaRequired("this account has a second factor; sign in with it to change what you sign in with")
        return record

    async def require_fresh(self, scope: Scope, to: str = "add a second factor") -> SessionRecord:
        """The same, proved within the last hour: fit to add what the account is signed in with from then on.

        `to` is what the caller is told it is for.

        A session that somebody left open, or that was stolen, must not become a factor of its own. Raises what
        `require_proven` raises, and Forbidden when the proof is older.
        """
        record = await self.require_proven(scope)
        if self.now() - record.proved_at > PROVED_WITHIN:
            raise Forbidden(f"you signed in more than an hour ago; sign in again to {to}")
        return record

    # --- listing and ending --------------------------------------------------------------------------

    async def logout(self, scope: Scope) -> None:
        """Ends the caller's session at once. Raises Forbidden for API keys."""
        await self._end(_session_of(scope), "logout")

    async def replaced(self, presented: str | None) -> None:
        """To be called when a browser was handed the cookies of another session: ends that of the token it presented.

        Whoever it belongs to, and also when the token's time is over: nobody has the session any more. What is no token
        of ours ends nothing.
        """
        claims = None if presented is None else await self._access_tokens.signed(presented)
        if claims is not None:
            with audit.besides("authLogout", actor_id=claims.user_id, session_id=claims.session_id):
                await self._end(claims.session_id, "replaced")

    async def logout_all(self, scope: Scope) -> None:
        """Ends every session of the caller, this one included. Raises Forbidden for API keys, MfaRequired."""
        await self.require_proven(scope)
        await self.end_all(scope.principal.user_id, "logout_all")

    async def revoke(self, scope: Scope, session_id: str) -> None:
        """Ends a session of the caller; administrators end anybody's. Again changes nothing.

        Raises Forbidden for API keys, MfaRequired for another one than the caller's own, BadUserInput, NotFound.
        """
        own = _session_of(scope)
        canonical = ids.parse("ses", session_id)
        if canonical != own:
            await self.require_proven(scope)
        record = await self._repository.session(canonical)
        caller = scope.principal
        if record is None or (record.account.user.id != caller.user_id and caller.role is not UserRole.ADMIN):
            raise NotFound("there is no such session", field="id")
        await self._end(canonical, "revoked")

    async def of_users(self, scope: Scope, user_ids: Sequence[str]) -> dict[str, list[Session]]:
        """Living sessions by user, newest first; only of users whose sessions the caller may see."""
        visible = [] if scope.principal.confined else self.visible(scope, user_ids)
        if not visible:
            return {}
        return await self._repository.living(visible, self.now(), self._policy.idle, scope.principal.session_id)

    def visible(self, scope: Scope, user_ids: Sequence[str]) -> list[str]:
        """Those whose sessions and factors the caller may see: their own, and an administrator's everybody's."""
        caller = scope.principal
        if caller.api_key_id is not None:
            return []
        return [one for one in user_ids if one == caller.user_id or caller.role is UserRole.ADMIN]

    async def end_all(self, user_id: str, reason: str, *, but: str | None = None) -> None:
        """Ends the sessions of a user, all or all but one."""
        ended = await self._repository.end_sessions(user_id, reason, self.now(), but)
        await self.forget(ended)

    async def forget(self, session_ids: Sequence[str]) -> None:
        """To be called after the commit of whatever ended these sessions: closes what they hold open."""
        for session_id in session_ids:
            self._authentication.forget_session(session_id)
        for session_id in session_ids:
            await self._connections.end_session(session_id)

    def reread(self, session_id: str) -> None:
        """To be called after the commit of whatever changed what is remembered of this session, or its account."""
        self._authentication.forget_session(session_id)

    async def _end(self, session_id: str, reason: str) -> None:
        try:
            await self._repository.end_session(session_id, reason, self.now())
        finally:  # also when the commit's fate is unknown
            self._authentication.forget_session(session_id)
        await self._connections.end_session(session_id)

    def _refreshed(self, record: SessionRecord, counter: int, now: datetime) -> AuthResult:
        user = record.account.user
        refresh = self._refresh_tokens.issue(record.id, counter, record.refresh_key)
        return AuthResult(user, self._tokens(user.id, record.id, refresh, now, record.expires_at))

    def _tokens(self, user_id: str, session_id: str, refresh: str, now: datetime, session_expires: datetime) -> Tokens:
        expires = min(now + self._policy.access, session_expires)
        return Tokens(
            access=self._access_tokens.issue(user_id=user_id, session_id=session_id, now=now, expires=expires),
            refresh=refresh,
            expires_in=_whole_seconds(expires - now),
            session_expires_in=_whole_seconds(session_expires - now),
        )


def _session_of(scope: Scope) -> str:
    scope.require_session()
    session_id = scope.principal.session_id
    if session_id is None:
        raise Unauthenticated("there is no session")
    return session_id


def _whole_seconds(length: timedelta) -> int:
    return max(0, int(length.total_seconds()))
