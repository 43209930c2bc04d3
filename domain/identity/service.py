"""The use-cases of identity: set up once, sign in, stay signed in, sign out; and who may see whom.

Only this module opens sessions. It must never tell by message or by work done whether an address has an account:
every failed login costs exactly one password hash.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from domain import ids, names
from domain.access import Principal, Scope, UserRole
from domain.clock import Clock
from domain.errors import Conflict, NotFound, Unauthenticated
from domain.identity import rules
from domain.identity.authentication import Authentication
from domain.identity.entities import (
    ApiKey,
    AuthResult,
    ClientInfo,
    Founding,
    FoundingOutcome,
    NewSession,
    SessionPolicy,
    SessionRecord,
    Tokens,
    User,
    Workspace,
)
from domain.identity.keys import ApiKeys
from domain.identity.live import SECONDS
from domain.identity.ports import (
    AccessTokens,
    ApiKeyCodec,
    IdentityRepository,
    KeyRepository,
    NoConnections,
    OpenConnections,
    Passwords,
    RefreshTokens,
    SetupTokenStore,
    Verdict,
)

WRONG_LOGIN: Final = "the e-mail address or the password is wrong"
WRONG_REFRESH: Final = "the refresh token is not valid or its session has ended; sign in again"
ALREADY_SET_UP: Final = "this instance is already set up; sign in instead"
_SETUP_TOKEN_BYTES: Final = 32
_LOGIN_ATTEMPTS: Final = 3


class Identity:
    """Who may come in. One object per process: it remembers, for a fraction of a second, which sessions are alive."""

    def __init__(
        self,
        *,
        repository: IdentityRepository,
        keys: KeyRepository,
        passwords: Passwords,
        access_tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
        api_key_codec: ApiKeyCodec,
        setup_tokens: SetupTokenStore,
        clock: Clock,
        connections: OpenConnections | None = None,
        policy: SessionPolicy | None = None,
        cache_seconds: float = SECONDS,
    ) -> None:
        self._repository = repository
        self._passwords = passwords
        self._access_tokens = access_tokens
        self._refresh_tokens = refresh_tokens
        self._setup_tokens = setup_tokens
        self._clock = clock
        self._connections = NoConnections() if connections is None else connections
        self._policy = SessionPolicy() if policy is None else policy
        self._set_up = False
        self._authentication = Authentication(
            repository=repository,
            keys=keys,
            access_tokens=access_tokens,
            codec=api_key_codec,
            policy=self._policy,
            now=self._now,
            cache_seconds=cache_seconds,
        )
        self.keys = ApiKeys(
            repository=keys,
            codec=api_key_codec,
            now=self._now,
            slug=repository.workspace_slug,
            ended=self._key_ended,
        )

    # --- setup ---------------------------------------------------------------------------------------

    async def setup_required(self) -> bool:
        """Whether the instance waits for its first administrator. Once it does not, it never does again."""
        if not self._set_up:
            self._set_up = (await self._repository.setup_state()).done
        return not self._set_up

    async def ensure_setup(self, *, email: str | None = None, password: str | None = None) -> str | None:
        """Called at start: the one-time token to show to the operator, or None when none is needed.

        With `email` and `password` an empty instance gets that administrator; both are ignored ever after.
        Raises BadUserInput naming `admin_email` or `admin_password`.
        """
        if not await self.setup_required():
            self._setup_tokens.clear()
            return None
        if email is not None and password is not None:
            founding = await self._founding(email, password, None, None, fields=("admin_email", "admin_password"))
            await self._repository.found(founding, None, self._now())  # CLOSED: another server was faster
            self._setup_tokens.clear()
            return None
        return await self._offer_setup()

    async def setup(
        self, *, token: str, email: str, password: str, name: str | None = None, client: ClientInfo | None = None
    ) -> AuthResult:
        """Makes the first administrator and the default workspace, and signs in. Works once, for ever.

        Raises Conflict once the instance is set up, Unauthenticated for a wrong token, BadUserInput.
        """
        presented = _digest(token)
        state = await self._repository.setup_state()
        if state.done:
            raise Conflict(ALREADY_SET_UP)
        if state.token_hash is None or not hmac.compare_digest(state.token_hash, presented):
            raise Unauthenticated(_WRONG_SETUP_TOKEN, field="token")
        founding = await self._founding(email, password, name, client or ClientInfo())
        match await self._repository.found(founding, presented, self._now()):
            case FoundingOutcome.CLOSED:
                raise Conflict(ALREADY_SET_UP)
            case FoundingOutcome.WRONG_TOKEN:
                raise Unauthenticated(_WRONG_SETUP_TOKEN, field="token")
            case FoundingOutcome.DONE:
                pass
        self._set_up = True
        self._setup_tokens.clear()
        assert founding.session is not None  # noqa: S101  # `_founding` opens one for every client
        return AuthResult(founding.user, self._first_tokens(founding.user.id, founding.session))

    async def _offer_setup(self) -> str | None:
        state = await self._repository.setup_state()
        kept = self._setup_tokens.read()
        if kept is not None and state.token_hash is not None and hmac.compare_digest(_digest(kept), state.token_hash):
            return kept
        token = secrets.token_urlsafe(_SETUP_TOKEN_BYTES)
        if not await self._repository.offer_setup(_digest(token)):
            return None
        self._setup_tokens.write(token)
        return token

    async def _founding(
        self,
        email: str,
        password: str,
        name: str | None,
        client: ClientInfo | None,
        fields: tuple[str, str] = ("email", "password"),
    ) -> Founding:
        now = self._now()
        address = rules.email(email, field=fields[0])
        shown = address.partition("@")[0] if name is None else names.title(name)
        secret = rules.chosen_password(password, address=address, name=shown, field=fields[1])
        workspace = Workspace(ids.new("wsp"), "default", "Default")
        session = None if client is None else self._new_session(now, client)
        user = User(ids.new("usr"), address, shown, UserRole.ADMIN, now, None if session is None else now)
        return Founding(workspace, user, await self._passwords.hash(secret), session)

    # --- sessions ------------------------------------------------------------------------------------

    async def login(self, *, email: str, password: str, client: ClientInfo | None = None) -> AuthResult:
        """Opens a session. Raises Unauthenticated; BadUserInput for a password nobody can have; Overloaded."""
        secret = rules.presented_password(password)
        address = rules.email_to_look_up(email)
        for _ in range(_LOGIN_ATTEMPTS):
            found = None if address is None else await self._repository.credentials(address)
            stored = None if found is None else found[1]
            verdict = await self._passwords.verify(stored, secret)
            if found is None or stored is None or verdict is Verdict.WRONG:
                break
            account = found[0]
            if account.disabled:
                raise Unauthenticated("this account is disabled; ask an administrator")
            better = await self._passwords.hash(secret) if verdict is Verdict.OUTDATED else None
            session = self._new_session(self._now(), client or ClientInfo())
            if await self._repository.open_session(account.user.id, session, stored, better):
                user = replace(account.user, last_login_at=session.created_at)
                return AuthResult(user, self._first_tokens(user.id, session))
            # The hash changed meanwhile: another login renewed it, or the password is another one now.
        raise Unauthenticated(WRONG_LOGIN)

    async def refresh(self, refresh_token: str) -> AuthResult:
        """The next pair of tokens. The same trade within the grace answers the same refresh token again.

        An older token than that was copied by somebody: it ends the session. Raises Unauthenticated.
        """
        presented = self._refresh_tokens.parse(refresh_token)
        record = None if presented is None else await self._repository.session(presented.session_id)
        if presented is None or record is None or not self._refresh_tokens.genuine(presented, record.refresh_key):
            raise Unauthenticated(WRONG_REFRESH)
        now = self._now()
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
            await self._end_session(record.id, "refresh_reuse", now)
        raise Unauthenticated(WRONG_REFRESH)

    async def logout(self, scope: Scope) -> None:
        """Ends the caller's session at once. Raises Forbidden for API keys."""
        scope.require_session()
        session_id = scope.principal.session_id
        if session_id is None:
            raise Unauthenticated("there is no session to end")
        await self._end_session(session_id, "logout", self._now())

    async def _end_session(self, session_id: str, reason: str, now: datetime) -> None:
        try:
            await self._repository.end_session(session_id, reason, now)
        finally:  # also when the commit's fate is unknown
            self._authentication.forget_session(session_id)
        await self._connections.end_session(session_id)

    async def _key_ended(self, key: ApiKey) -> None:
        self._authentication.forget_key(key)
        await self._connections.end_api_key(key.id)

    def _new_session(self, now: datetime, client: ClientInfo) -> NewSession:
        session_id = ids.new("ses")
        return NewSession(
            id=session_id,
            refresh_key=self._refresh_tokens.new_key(session_id),
            created_at=now,
            expires_at=now + self._policy.absolute,
            client=client.cleaned(),
        )

    def _first_tokens(self, user_id: str, session: NewSession) -> Tokens:
        refresh = self._refresh_tokens.issue(session.id, 0, session.refresh_key)
        return self._tokens(user_id, session.id, refresh, session.created_at, session.expires_at)

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

    # --- authentication ------------------------------------------------------------------------------

    async def authenticate(
        self,
        *,
        authorization: str | None = None,
        session: str | None = None,
        workspace: str | None = None,
    ) -> Scope:
        """The scope of whoever presents these credentials; see `Authentication.authenticate`."""
        return await self._authentication.authenticate(authorization, session, workspace)

    async def ended(self, principals: Iterable[Principal]) -> list[Principal]:
        """Those of the principals of open connections whose session or key no longer works, wherever it was ended."""
        return await self._authentication.ended(principals)

    # --- users ---------------------------------------------------------------------------------------

    async def viewer(self, scope: Scope) -> User:
        """The caller, or the owner of the caller's API key."""
        return await self.user(scope, scope.principal.user_id)

    async def user(self, scope: Scope, user_id: str) -> User:
        """A user this workspace knows. Raises BadUserInput, NotFound."""
        canonical = ids.parse("usr", user_id)
        found = (await self.users_by_ids(scope, [canonical])).get(canonical)
        if found is None:
            raise NotFound("there is no such user", field="id")
        return found

    async def users_by_ids(self, scope: Scope, user_ids: Sequence[str]) -> dict[str, User]:
        """Members of the workspace and authors of its rows, among these ids."""
        return await self._repository.users_by_ids(scope, user_ids)

    async def workspace_slug(self, scope: Scope) -> str:
        """The name of the workspace of `scope` in headers."""
        return await self._repository.workspace_slug(scope)

    def _now(self) -> datetime:
        now = self._clock.now()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


_WRONG_SETUP_TOKEN: Final = "this is not the setup token of this instance; use the link that the server printed last"  # noqa: S105


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _whole_seconds(length: timedelta) -> int:
    return max(0, int(length.total_seconds()))
