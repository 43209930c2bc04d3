"""The caller's own password: asked for again before what matters, and changed."""

from __future__ import annotations

from dataclasses import replace

from domain.access import Scope
from domain.errors import BadUserInput, Unauthenticated
from domain.identity import choosing, rules
from domain.identity.entities import SessionRecord, User
from domain.identity.factors import CredentialChange
from domain.identity.guesses import Guesses
from domain.identity.ports import CredentialRepository, IdentityRepository, Passwords, Verdict
from domain.identity.sessions import Sessions


class OwnPassword:
    """The use-cases of one's own password. Wrong ones count like those of sign-ins."""

    def __init__(
        self,
        *,
        accounts: IdentityRepository,
        credentials: CredentialRepository,
        passwords: Passwords,
        guesses: Guesses,
        sessions: Sessions,
        shortest: int,
    ) -> None:
        self._shortest = shortest
        self._accounts = accounts
        self._credentials = credentials
        self._passwords = passwords
        self._guesses = guesses
        self._sessions = sessions

    async def confirm(self, scope: Scope, password: str, *, field: str = "password") -> tuple[SessionRecord, str]:
        """The caller's session, and the hash that the password was right for.

        Raises Forbidden for API keys, MfaRequired, Unauthenticated naming `field`, RateLimited, Overloaded.
        """
        session = await self._sessions.require_proven(scope)
        address = session.account.user.email
        secret = rules.presented_password(password, field=field)
        found = await self._accounts.credentials(address)
        stored = None if found is None else found[1]
        verdict = await self._guesses.check_password(address, stored, secret)
        if stored is None or verdict is Verdict.WRONG:
            raise Unauthenticated("the password is wrong", field=field)
        return session, stored

    async def change(self, scope: Scope, *, current: str, new: str) -> User:
        """Another password. Ends the caller's other sessions and the sign-ins under way.

        Sent again it is refused, for `current` no longer is the password. Raises what `confirm` raises, naming
        `current`, and BadUserInput naming `new`.
        """
        session, stored = await self.confirm(scope, current, field="current")
        user = session.account.user
        chosen = await choosing.chosen_password(
            self._passwords, new, shortest=self._shortest, address=user.email, name=user.name, field="new"
        )
        if chosen == rules.presented_password(current):
            raise BadUserInput("this is the present password; choose another one", field="new")
        change = CredentialChange(user.id, session.id, self._sessions.now(), stored)
        ended = await self._credentials.change_password(change, await self._passwords.hash(chosen))
        self._sessions.reread(session.id)
        await self._sessions.forget(ended)
        return replace(user, must_change_password=False)
