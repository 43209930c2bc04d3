"""Invites: how owners let people into a workspace whom they meet nowhere on this instance.

An invite is a link for one address, good once. It is worth what its maker may still do when it is used: the invites of
somebody who no longer owns the workspace let nobody in.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from domain import ids
from domain.access import Scope, WorkspaceRole
from domain.idempotency import ClientToken
from domain.identity import rules
from domain.identity.entities import Invite, NewSession, User, Workspace
from domain.paging import Keyset, Page, PageRequest

LIFETIME: Final = timedelta(days=7)
MAX_INVITES: Final = 200
PREFIX: Final = "axi_"
MAX_TOKEN: Final = 128
WRONG_INVITE: Final = (
    "this invite is not good: it is unknown, for another address, expired, revoked or used; ask for another one"
)
_TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class InviteCreated:
    """A new invite and the link with its token, which exists nowhere else and is shown this once."""

    invite: Invite
    url: str


class InviteRepository(Protocol):
    """Rows of invites. Each method is one atomic unit.

    Whoever makes or revokes one takes the workspace's lock first, and raises NotFound unless the caller is in it now,
    and Forbidden unless as an owner.
    """

    async def create(self, scope: Scope, invite: Invite, token_digest: str, token: ClientToken | None) -> Invite:
        """Instead of any other for the same address; or what the client's token made before, with this digest now.

        Raises Conflict for a member, when there are too many, and when what the token made is no longer open.
        """
        ...

    async def revoke(self, scope: Scope, invite_id: str, now: datetime) -> None:
        """Again changes nothing. Raises NotFound, also for one that was used."""
        ...

    async def page(self, scope: Scope, request: PageRequest, keyset: Keyset, now: datetime) -> Page[Invite]:
        """Those of the workspace that can still be used, newest first."""
        ...

    async def accept(self, scope: Scope, token_digest: str, now: datetime) -> Workspace:
        """Uses one up for the caller, whose address it must be for; again by the same person changes nothing.

        Raises Forbidden naming `token`, and Conflict for a member, or beyond what there may be.
        """
        ...

    async def register(self, user: User, password_hash: str, token_digest: str, session: NewSession) -> None:
        """Uses one up for a new account, which it opens a session for: all of it or nothing.

        Raises Forbidden naming `invite`, Conflict for an address with an account, or a full workspace.
        """
        ...

    async def settle(self, user: User, password_hash: str, workspace: Workspace) -> bool:
        """A new account as the owner of a new workspace; False, and nothing, when the address has an account.

        The workspace's slug gets an ending when it is taken. Raises Conflict when there are too many workspaces,
        whatever the address.
        """
        ...


class Invites:
    """The use-cases. `origin` is where people reach the server, and `changed` is told whose rights changed."""

    def __init__(
        self,
        *,
        repository: InviteRepository,
        now: Callable[[], datetime],
        changed: Callable[[str | None], None],
        origin: str,
    ) -> None:
        self._repository = repository
        self._now = now
        self._changed = changed
        self._origin = origin

    async def create(
        self, scope: Scope, *, email: str, role: WorkspaceRole, client_token: str | None = None
    ) -> InviteCreated:
        """A link for one address to the workspace; an earlier one for the same address is good no more.

        Sent again with the same client token it answers the same invite, with another link instead of the first, which
        is kept nowhere; and a conflict once the invite was used, revoked or replaced. Does not tell whether the address
        has an account. Raises Forbidden, BadUserInput, Conflict.
        """
        scope.require_owner()
        now = self._now()
        invite = Invite(ids.new("inv"), rules.email(email), role, now, now + LIFETIME)
        token = PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        again = ClientToken.of(client_token, "inviteCreate", email=invite.email, role=role.value)
        made = await self._repository.create(scope, invite, digest_of(token), again)
        return InviteCreated(made, f"{self._origin}/login#invite={token}")

    async def revoke(self, scope: Scope, invite_id: str) -> str:
        """Its id. Again changes nothing. Raises Forbidden, BadUserInput, NotFound."""
        scope.require_owner()
        canonical = ids.parse("inv", invite_id)
        await self._repository.revoke(scope, canonical, self._now())
        return canonical

    async def page(self, scope: Scope, request: PageRequest) -> Page[Invite]:
        """Open invites of the workspace, newest first. Raises Forbidden, BadUserInput."""
        scope.require_owner()
        keyset = Keyset(("invites", scope.workspace_id), (datetime, str))
        return await self._repository.page(scope, request, keyset, self._now())

    async def accept(self, scope: Scope, token: str) -> Workspace:
        """Lets the caller into the workspace of an invite for their address. Sent again it answers the same.

        Raises Forbidden, Conflict.
        """
        scope.require_session()
        workspace = await self._repository.accept(scope, digest_of(token), self._now())
        self._changed(scope.principal.user_id)
        return workspace


def digest_of(token: str) -> str:
    """What is kept of a token: its SHA-256, in hexadecimal. Absurdly long ones are cut: they are nobody's anyway."""
    return hashlib.sha256(token[: MAX_TOKEN + 1].encode("utf-8", "surrogatepass")).hexdigest()
