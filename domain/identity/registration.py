"""Making one's own account, as far as the registration policy allows.

Whether an address has an account is told to nobody but the holder of an invite for that very address. So registering
without an invite never signs in: the answer is the same, and one password hash is computed, whether the address was
taken or not.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final

from domain import ids
from domain.access import UserRole
from domain.errors import Forbidden
from domain.identity.entities import AuthResult, ClientInfo, Workspace
from domain.identity.factors import PASSWORD_ALONE
from domain.identity.invites import InviteRepository, digest_of
from domain.identity.people import new_user
from domain.identity.ports import Passwords
from domain.identity.sessions import Sessions

_SLUG_LENGTH: Final = 40


class RegistrationPolicy(Enum):
    """Who may make an account: nobody, whoever was invited, or anybody."""

    CLOSED = "closed"
    INVITE = "invite"
    OPEN = "open"


class Registration:
    """The use-case. A password that is chosen has `shortest` characters or more."""

    def __init__(
        self,
        *,
        policy: RegistrationPolicy,
        repository: InviteRepository,
        passwords: Passwords,
        sessions: Sessions,
        shortest: int,
    ) -> None:
        self.policy = policy
        self._shortest = shortest
        self._repository = repository
        self._passwords = passwords
        self._sessions = sessions

    async def register(
        self,
        *,
        email: str,
        password: str,
        name: str | None = None,
        invite: str | None = None,
        client: ClientInfo | None = None,
    ) -> AuthResult | None:
        """With an invite: an account in its workspace, signed in. Without: None, and an account if there was none.

        Raises Forbidden as the policy says, or naming `invite`; BadUserInput; Overloaded; Conflict for the address of
        an invite that has an account, and where there is no more room.
        """
        if self.policy is RegistrationPolicy.CLOSED:
            raise Forbidden("registration is closed on this server; ask an administrator for an account")
        if invite is None and self.policy is RegistrationPolicy.INVITE:
            raise Forbidden("registration needs an invite; ask an owner of a workspace for one", field="invite")
        user, secret = await new_user(
            self._passwords,
            email,
            password,
            name,
            UserRole.USER,
            self._sessions.now(),
            shortest=self._shortest,
            temporary=False,
        )
        hashed = await self._passwords.hash(secret)
        if invite is None:
            room = Workspace(ids.new("wsp"), _slug(user.name), user.name, user.created_at)
            await self._repository.settle(user, hashed, room)
            return None
        session = self._sessions.new(client or ClientInfo(), PASSWORD_ALONE)
        await self._repository.register(user, hashed, digest_of(invite), session)
        return self._sessions.opened(user, session)


def _slug(name: str) -> str:
    """A short name for a person's own workspace."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.casefold())[:_SLUG_LENGTH].strip("-")
    return slug if slug and not ids.looks_like_id(slug) else "home"
