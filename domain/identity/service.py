"""Identity as one object per process: puts its use-cases together, and answers who may see whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from domain import ids
from domain.access import Scope
from domain.clock import Clock
from domain.errors import NotFound
from domain.identity import rules
from domain.identity.authentication import Authentication
from domain.identity.entities import ApiKey, SessionPolicy, User
from domain.identity.factors import Credential
from domain.identity.founding import Founder
from domain.identity.grants import GrantRepository, Grants
from domain.identity.guesses import Guesses
from domain.identity.invites import InviteRepository, Invites
from domain.identity.keys import ApiKeys
from domain.identity.live import SECONDS
from domain.identity.operator import Operator
from domain.identity.passkey_ports import Ceremonies, PasskeyRepository
from domain.identity.passkeys import Passkeys
from domain.identity.passwords import OwnPassword
from domain.identity.people import People, PeopleRepository
from domain.identity.ports import (
    AccessTokens,
    ApiKeyCodec,
    AttemptRepository,
    CredentialRepository,
    IdentityRepository,
    KeyRepository,
    NoConnections,
    OpenConnections,
    Passwords,
    PendingRepository,
    RecoveryRepository,
    RefreshTokens,
    SessionRepository,
    SetupTokenStore,
    TotpCodes,
    TotpRepository,
)
from domain.identity.recovery import Recovery
from domain.identity.registration import Registration, RegistrationPolicy
from domain.identity.sessions import Sessions
from domain.identity.sign_in import SignIn
from domain.identity.totp import Totp
from domain.identity.workspaces import EndedKey, WorkspaceRepository, Workspaces


class Identity:
    """Who may come in. It remembers, for a fraction of a second, which sessions and keys are alive.

    With `mfa_required` nobody does without a second factor, and passwords that are chosen may be shorter.
    """

    def __init__(
        self,
        *,
        repository: IdentityRepository,
        session_rows: SessionRepository,
        pending: PendingRepository,
        keys: KeyRepository,
        totp_rows: TotpRepository,
        recovery_rows: RecoveryRepository,
        passkey_rows: PasskeyRepository,
        credential_rows: CredentialRepository,
        workspace_rows: WorkspaceRepository,
        grant_rows: GrantRepository,
        people_rows: PeopleRepository,
        invite_rows: InviteRepository,
        attempts: AttemptRepository,
        totp_codes: TotpCodes,
        mark: Callable[[str], str],
        passwords: Passwords,
        code_hashes: Passwords,
        access_tokens: AccessTokens,
        refresh_tokens: RefreshTokens,
        api_key_codec: ApiKeyCodec,
        setup_tokens: SetupTokenStore,
        clock: Clock,
        registration: RegistrationPolicy = RegistrationPolicy.CLOSED,
        mfa_required: bool = False,
        origin: str = "http://localhost:3000",
        ceremonies: Ceremonies | None = None,
        connections: OpenConnections | None = None,
        policy: SessionPolicy | None = None,
        cache_seconds: float = SECONDS,
    ) -> None:
        self._repository = repository
        self._credential_rows = credential_rows
        self._clock = clock
        self.mfa_required = mfa_required
        self.shortest_password = shortest = rules.shortest_password(mfa_required=mfa_required)
        self._connections = NoConnections() if connections is None else connections
        policy = SessionPolicy() if policy is None else policy
        self._authentication = Authentication(
            repository=session_rows,
            keys=keys,
            standings=repository.standings,
            access_tokens=access_tokens,
            codec=api_key_codec,
            policy=policy,
            now=self._now,
            cache_seconds=cache_seconds,
            mfa_required=mfa_required,
        )
        self.sessions = Sessions(
            repository=session_rows,
            authentication=self._authentication,
            access_tokens=access_tokens,
            refresh_tokens=refresh_tokens,
            connections=self._connections,
            policy=policy,
            now=self._now,
        )
        self.founder = Founder(
            repository=repository,
            passwords=passwords,
            sessions=self.sessions,
            setup_tokens=setup_tokens,
            shortest=shortest,
        )
        guesses = Guesses(repository=attempts, passwords=passwords, mark=mark, now=self._now)
        self.sign_in = SignIn(
            repository=repository, pending=pending, passwords=passwords, guesses=guesses, sessions=self.sessions
        )
        self.password = OwnPassword(
            accounts=repository,
            credentials=credential_rows,
            passwords=passwords,
            guesses=guesses,
            sessions=self.sessions,
            shortest=shortest,
        )
        self.recovery = Recovery(
            repository=recovery_rows,
            hashes=code_hashes,
            own_password=self.password,
            sessions=self.sessions,
            sign_in=self.sign_in,
        )
        self.totp = Totp(
            repository=totp_rows,
            codes=totp_codes,
            guesses=guesses,
            own_password=self.password,
            recovery=self.recovery,
            sessions=self.sessions,
            sign_in=self.sign_in,
            mfa_required=mfa_required,
        )
        self.passkeys = Passkeys(
            repository=passkey_rows,
            ceremonies=ceremonies,
            own_password=self.password,
            sessions=self.sessions,
            sign_in=self.sign_in,
            mfa_required=mfa_required,
        )
        self.keys = ApiKeys(
            repository=keys,
            codec=api_key_codec,
            now=self._now,
            slug=repository.workspace_slug,
            ended=self._key_ended,
        )
        self.workspaces = Workspaces(
            repository=workspace_rows,
            now=self._now,
            changed=self._authentication.forget_user,
            keys_ended=self._keys_ended,
        )
        self.grants = Grants(repository=grant_rows, now=self._now, changed=self._authentication.forget_user)
        self.invites = Invites(
            repository=invite_rows, now=self._now, changed=self._authentication.forget_user, origin=origin
        )
        self.registration = Registration(
            policy=registration,
            repository=invite_rows,
            passwords=passwords,
            sessions=self.sessions,
            shortest=shortest,
        )
        self.people = People(
            repository=people_rows,
            credentials=credential_rows,
            passwords=passwords,
            guesses=guesses,
            sessions=self.sessions,
            changed=self._authentication.forget_user,
            keys_ended=self._keys_ended,
            shortest=shortest,
        )
        self.operator = Operator(
            people=self.people,
            repository=people_rows,
            accounts=repository,
            session_rows=session_rows,
            founder=self.founder,
            passwords=passwords,
            guesses=guesses,
            sessions=self.sessions,
            policy=policy,
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

    async def ended(self, scopes: Iterable[Scope]) -> list[Scope]:
        """Those of the scopes of open connections that no longer hold, wherever that came about.

        Their session or key has ended, or what its user may do in the workspace has changed.
        """
        return await self._authentication.ended(scopes)

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

    def must_add_factor(self, user: User) -> bool:
        """Whether their sessions are good for adding a second factor alone."""
        return self.mfa_required and not user.mfa_enabled

    async def users_by_ids(self, scope: Scope, user_ids: Sequence[str]) -> dict[str, User]:
        """Members of the workspace and authors of its rows, among these ids."""
        return await self._repository.users_by_ids(scope, user_ids)

    async def credentials_of_users(self, scope: Scope, user_ids: Sequence[str]) -> dict[str, list[Credential]]:
        """Second factors by user, oldest first; only of users whose sessions the caller may see."""
        visible = self.sessions.visible(scope, user_ids)
        return await self._credential_rows.credentials_of_users(visible) if visible else {}

    async def workspace_slug(self, scope: Scope) -> str:
        """The name of the workspace of `scope` in headers."""
        return await self._repository.workspace_slug(scope)

    async def _key_ended(self, key: ApiKey) -> None:
        await self._keys_ended([EndedKey(key.id, key.lookup)])

    async def _keys_ended(self, keys: Sequence[EndedKey]) -> None:
        for key in keys:
            self._authentication.forget_key(key.lookup)
        for key in keys:
            await self._connections.end_api_key(key.id)

    def _now(self) -> datetime:
        now = self._clock.now()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)
