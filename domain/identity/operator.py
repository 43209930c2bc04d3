"""What the operator of the server does to accounts from its command line, whoever is signed in or locked out.

Nobody is asked for rights here: whoever can read the server's data directory has them all.
"""

from __future__ import annotations

from domain.access import UserRole
from domain.errors import Conflict, NotFound
from domain.identity import rules
from domain.identity.entities import Session, SessionPolicy, User
from domain.identity.founding import Founder
from domain.identity.guesses import Guesses
from domain.identity.people import AccountChange, People, PeopleRepository
from domain.identity.ports import IdentityRepository, Passwords, SessionRepository
from domain.identity.sessions import Sessions


class Operator:
    """The use-cases, all by address. They raise NotFound for an address without an account, and BadUserInput."""

    def __init__(
        self,
        *,
        people: People,
        repository: PeopleRepository,
        accounts: IdentityRepository,
        session_rows: SessionRepository,
        founder: Founder,
        passwords: Passwords,
        guesses: Guesses,
        sessions: Sessions,
        policy: SessionPolicy,
    ) -> None:
        self._people = people
        self._repository = repository
        self._accounts = accounts
        self._session_rows = session_rows
        self._founder = founder
        self._passwords = passwords
        self._guesses = guesses
        self._sessions = sessions
        self._policy = policy

    async def create(self, email: str, password: str, *, name: str | None = None) -> User:
        """A new administrator; on an instance without users the first one, which sets it up.

        Raises BadUserInput, and Conflict for an address with an account.
        """
        user, secret = await self._people.new(email, password, name, UserRole.ADMIN, temporary=False)
        if await self._founder.required():
            await self._founder.ensure(email=email, password=password)
            found = await self._accounts.credentials(user.email)
            if found is None:
                raise Conflict("this instance was set up by somebody else at this moment; run the command again")
            return found[0].user
        return await self._repository.create(None, user, await self._passwords.hash(secret), None)

    async def reset_password(self, email: str, password: str, *, drop_factors: bool = False) -> User:
        """Another password, which its owner must change first. Ends their sessions and the sign-ins under way.

        `drop_factors` removes second factors and recovery codes as well, of somebody who has lost them all.
        """
        user = await self._user(email)
        hashed = await self._people.hashed(user, password)
        changed = await self._people.change(
            None, user.id, AccountChange(password_hash=hashed, drop_factors=drop_factors)
        )
        await self._guesses.forget(user.email, user.id)
        return changed

    async def unlock(self, email: str) -> User:
        """Forgets wrong passwords and codes, and switches a disabled account on again."""
        user = await self._user(email)
        await self._guesses.forget(user.email, user.id)
        return await self._people.change(None, user.id, AccountChange(disabled=False))

    async def sessions(self, email: str) -> list[Session]:
        """Living sessions, newest first."""
        user = await self._user(email)
        now = self._sessions.now()
        return (await self._session_rows.living([user.id], now, self._policy.idle, None))[user.id]

    async def end_sessions(self, email: str) -> None:
        """Ends every session of an account."""
        await self._sessions.end_all((await self._user(email)).id, "operator")

    async def _user(self, email: str) -> User:
        address = rules.email(email)
        found = await self._accounts.credentials(address)
        if found is None:
            raise NotFound(f"there is no account with the address {address}", field="email")
        return found[0].user
