"""Accounts: listed, made, changed, switched off and deleted by administrators; one's own name and data by anybody.

Who is an administrator, and whether another one remains, is decided by what stands in the database at that moment,
under one lock for all administrators, not by what a scope remembers. API keys manage nobody.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from domain import ids, names
from domain.access import Scope, UserRole, WorkspaceRole
from domain.errors import Forbidden
from domain.idempotency import ClientToken
from domain.identity import choosing, rules
from domain.identity.entities import ApiKey, User
from domain.identity.factors import Credential
from domain.identity.guesses import Guesses
from domain.identity.ports import CredentialRepository, Passwords
from domain.identity.sessions import Sessions
from domain.identity.workspaces import EndedKey
from domain.paging import Keyset, Page, PageRequest
from domain.patch import KEEP, Keep

MAX_SEARCH: Final = 250
MOST_EXPORTED: Final = 1_000


@dataclass(frozen=True, slots=True)
class UserListing:
    """Which accounts to list, newest first: those with `search` in their address or name, or all."""

    page: PageRequest
    offset: int
    search: str | None
    keyset: Keyset


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What becomes of an account; KEEP leaves as it is. `password_hash` is of a password that somebody else chose."""

    name: str | Keep = KEEP
    email: str | Keep = KEEP
    role: UserRole | Keep = KEEP
    disabled: bool | Keep = KEEP
    password_hash: str | Keep = KEEP
    drop_factors: bool = False


@dataclass(frozen=True, slots=True)
class Changed:
    """An account as it is now, and the sessions that the change ended."""

    user: User
    ended: list[str]


@dataclass(frozen=True, slots=True)
class Farewell:
    """What a deleted user leaves behind: ids of sessions, and API keys."""

    sessions: list[str]
    keys: list[EndedKey]


@dataclass(frozen=True, slots=True)
class Joined:
    """A workspace somebody belongs to, by its names, and as what."""

    slug: str
    name: str
    role: WorkspaceRole


@dataclass(frozen=True, slots=True)
class KeptSession:
    """A session as it is kept, over or not."""

    id: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    ended_at: datetime | None
    user_agent: str | None
    address: str | None


@dataclass(frozen=True, slots=True)
class History:
    """What is kept about a person beside what they sign in with; sessions and keys newest first."""

    user: User
    memberships: list[Joined]
    sessions: list[KeptSession]
    keys: list[ApiKey]


@dataclass(frozen=True, slots=True)
class Export:
    """Everything that is kept about a person, without secrets: of sessions and keys the newest MOST_EXPORTED."""

    history: History
    credentials: list[Credential]


class PeopleRepository(Protocol):
    """Rows of users. Each method is one atomic unit.

    Whatever changes one takes the lock of all administrators first, and raises Forbidden unless the caller is one now;
    `scope` None means that the operator of the server vouches.
    """

    async def page(self, listing: UserListing) -> Page[User]:
        """Deleted ones are no accounts any more."""
        ...

    async def create(self, scope: Scope | None, user: User, password_hash: str, token: ClientToken | None) -> User:
        """As an editor of the caller's workspace, or of the oldest. Raises Conflict for a taken address."""
        ...

    async def change(self, scope: Scope | None, user_id: str, change: AccountChange, now: datetime) -> Changed:
        """Raises NotFound, and Conflict for a taken address or when no administrator would be left."""
        ...

    async def rename(self, user_id: str, name: str) -> User:
        """One's own name. Raises NotFound."""
        ...

    async def delete(self, scope: Scope, user_id: str, now: datetime) -> Farewell:
        """Leaves a row without personal data. Raises NotFound, and Conflict when no administrator would be left."""
        ...

    async def user(self, user_id: str) -> User:
        """Raises NotFound."""
        ...

    async def history(self, user_id: str, most: int) -> History:
        """At most so many sessions and keys each. Raises NotFound."""
        ...


class People:
    """The use-cases. After the commit, `changed` is told whose rights changed and `keys_ended` which keys are gone."""

    def __init__(
        self,
        *,
        repository: PeopleRepository,
        credentials: CredentialRepository,
        passwords: Passwords,
        guesses: Guesses,
        sessions: Sessions,
        changed: Callable[[str | None], None],
        keys_ended: Callable[[Sequence[EndedKey]], Awaitable[None]],
        shortest: int,
    ) -> None:
        self._shortest = shortest
        self._repository = repository
        self._credentials = credentials
        self._passwords = passwords
        self._guesses = guesses
        self._sessions = sessions
        self._changed = changed
        self._keys_ended = keys_ended

    async def page(self, scope: Scope, page: PageRequest, *, search: str | None = None, offset: int = 0) -> Page[User]:
        """Accounts, newest first. Raises Forbidden, BadUserInput."""
        scope.require_admin()
        if search is not None:
            search = names.notes(search, field="search", most=MAX_SEARCH) or None
        keyset = Keyset(("users", search or ""), (datetime, str))
        return await self._repository.page(UserListing(page, offset, search, keyset))

    async def locked_until(self, scope: Scope, users: Sequence[User]) -> dict[str, datetime]:
        """Until when sign-ins by password wait after wrong ones, by user; of those that do. Raises Forbidden."""
        scope.require_admin()
        blocked = await self._guesses.blocked([user.email for user in users])
        return {user.id: blocked[user.email] for user in users if user.email in blocked}

    async def create(
        self,
        scope: Scope,
        *,
        email: str,
        password: str,
        name: str | None = None,
        role: UserRole = UserRole.USER,
        client_token: str | None = None,
    ) -> User:
        """A new account, which must change this password first, and an editor of the caller's workspace.

        Raises Forbidden, MfaRequired, BadUserInput, Conflict, Overloaded.
        """
        scope.require_admin()
        await self._sessions.require_proven(scope)
        # Nothing of the password is kept with the token, whose digest is quickly computed.
        token = ClientToken.of(client_token, "userCreate", email=email, name=name, role=role.value)
        user, secret = await self.new(email, password, name, role, temporary=True)
        return await self._repository.create(scope, user, await self._passwords.hash(secret), token)

    async def update(
        self,
        scope: Scope,
        user_id: str,
        *,
        name: str | Keep = KEEP,
        email: str | Keep = KEEP,
        role: UserRole | Keep = KEEP,
        disabled: bool | Keep = KEEP,
        password: str | Keep = KEEP,
    ) -> User:
        """Changes what is not KEEP. One's own name is anybody's to change, all else an administrator's.

        A password set here must be changed by its owner, and ends their sessions and the sign-ins under way, as
        disabling does. Factors stay. Raises Forbidden, MfaRequired, BadUserInput, NotFound, Conflict, Overloaded.
        """
        scope.require_session()
        canonical = ids.parse("usr", user_id)
        shown = name if isinstance(name, Keep) else names.title(name)
        own = canonical == scope.principal.user_id
        if own and all(isinstance(one, Keep) for one in (email, role, disabled, password)):
            return await self._named(canonical, shown)
        scope.require_admin()
        await self._sessions.require_proven(scope)
        if own and not isinstance(password, Keep):
            raise Forbidden("this is your own account; change its password by naming the present one", field="password")
        address = email if isinstance(email, Keep) else rules.email(email)
        hashed: str | Keep = KEEP
        if not isinstance(password, Keep):
            hashed = await self.hashed(await self._repository.user(canonical), password, address, shown)
        change = AccountChange(shown, address, role, disabled, hashed)
        return await self.change(scope, canonical, change)

    async def disable(self, scope: Scope, user_id: str) -> User:
        """Ends the sessions and stops the keys of an account at once. Again changes nothing. Raises as `update`."""
        return await self.update(scope, user_id, disabled=True)

    async def reset_factors(self, scope: Scope, user_id: str) -> User:
        """Removes the second factors and recovery codes of somebody who lost them, and ends their sessions.

        The password stays. Where there is none, nothing changes. Raises Forbidden (also for one's own account, and when
        the caller signed in more than an hour ago), MfaRequired, BadUserInput, NotFound.
        """
        scope.require_admin()
        canonical = ids.parse("usr", user_id)
        await self._sessions.require_fresh(scope, to="reset the second factors of somebody else")
        if canonical == scope.principal.user_id:
            raise Forbidden("this is your own account; remove its factors one by one", field="id")
        return await self.change(scope, canonical, AccountChange(drop_factors=True))

    async def delete(self, scope: Scope, user_id: str) -> str:
        """Removes the personal data of an account and all it could sign in with; its id.

        What the user made stays. Raises Forbidden, MfaRequired, BadUserInput, NotFound (also when it is done already),
        and Conflict for the last administrator.
        """
        scope.require_admin()
        canonical = ids.parse("usr", user_id)
        await self._sessions.require_proven(scope)
        gone = await self._repository.delete(scope, canonical, self._sessions.now())
        self._changed(canonical)
        await self._sessions.forget(gone.sessions)
        await self._keys_ended(gone.keys)
        return canonical

    async def export(self, scope: Scope) -> Export:
        """What is kept about the caller. Raises Forbidden for API keys."""
        scope.require_session()
        caller = scope.principal.user_id
        history = await self._repository.history(caller, MOST_EXPORTED)
        return Export(history, (await self._credentials.credentials_of_users([caller]))[caller])

    async def _named(self, user_id: str, name: str | Keep) -> User:
        if isinstance(name, Keep):
            return await self._repository.user(user_id)
        renamed = await self._repository.rename(user_id, name)
        self._changed(user_id)
        return renamed

    # --- shared with the command line ----------------------------------------------------------------

    async def new(
        self, email: str, password: str, name: str | None, role: UserRole, *, temporary: bool
    ) -> tuple[User, str]:
        """As `new_user`."""
        now = self._sessions.now()
        return await new_user(
            self._passwords, email, password, name, role, now, shortest=self._shortest, temporary=temporary
        )

    async def hashed(self, user: User, password: str, email: str | Keep = KEEP, name: str | Keep = KEEP) -> str:
        """The hash of a password that somebody else chose for a user. Raises BadUserInput, Overloaded."""
        secret = await choosing.chosen_password(
            self._passwords,
            password,
            shortest=self._shortest,
            address=user.email if isinstance(email, Keep) else email,
            name=user.name if isinstance(name, Keep) else name,
        )
        return await self._passwords.hash(secret)

    async def change(self, scope: Scope | None, user_id: str, change: AccountChange) -> User:
        """Makes a change that was checked, and closes what it ended. Raises what the repository raises."""
        done = await self._repository.change(scope, user_id, change, self._sessions.now())
        self._changed(user_id)
        await self._sessions.forget(done.ended)
        return done.user


async def new_user(  # noqa: PLR0917 - what makes an account
    passwords: Passwords,
    email: str,
    password: str,
    name: str | None,
    role: UserRole,
    now: datetime,
    *,
    shortest: int,
    temporary: bool,
) -> tuple[User, str]:
    """An account about to be made, and its password as it is hashed. Raises BadUserInput, Overloaded."""
    address = rules.email(email)
    shown = address.partition("@")[0] if name is None else names.title(name)
    secret = await choosing.chosen_password(passwords, password, shortest=shortest, address=address, name=shown)
    return User(ids.new("usr"), address, shown, role, now, must_change_password=temporary), secret
