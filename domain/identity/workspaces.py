"""Workspaces and their members: who may enter which room, and as what.

Owners manage a workspace; administrators act as owners of every one. What is changed is decided by the roles that
stand in the database at that moment, under a lock on the workspace, not by those that a scope remembers. API keys
manage nothing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from domain import ids, names
from domain.access import Scope, UserRole, WorkspaceRole
from domain.errors import BadUserInput, Forbidden
from domain.idempotency import ClientToken
from domain.identity.entities import User, Workspace
from domain.patch import KEEP, Keep

MAX_JOINED: Final = 100
MAX_MEMBERS: Final = 1_000
MAX_WORKSPACES: Final = 1_000

_SLUG: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Member:
    """A user in a workspace."""

    user: User
    role: WorkspaceRole


@dataclass(frozen=True, slots=True)
class EndedKey:
    """An API key that was revoked together with what it stood on; `lookup` is its public part."""

    id: str
    lookup: str


@dataclass(frozen=True, slots=True)
class Removal:
    """What a removed member leaves behind."""

    workspace: Workspace
    keys: list[EndedKey]


class WorkspaceRepository(Protocol):
    """Rows of workspaces and memberships. Each method is one atomic unit.

    Whatever changes a workspace takes its lock first, and raises NotFound unless the caller is in it now, and Forbidden
    unless as an owner. Administrators are owners everywhere.
    """

    async def create(self, scope: Scope, workspace: Workspace, token: ClientToken | None) -> Workspace:
        """With the caller as its owner; or what the token made before, while the caller belongs to it.

        Raises Conflict when the slug is taken, and beyond what there may be.
        """
        ...

    async def rename(self, scope: Scope, workspace_id: str, name: str | Keep) -> Workspace: ...

    async def delete(self, scope: Scope, workspace_id: str, now: datetime) -> list[EndedKey]:
        """Raises Conflict while it holds anything, or is the last one."""
        ...

    async def add_member(self, scope: Scope, workspace_id: str, user_id: str, role: WorkspaceRole) -> Workspace:
        """Again with the same role changes nothing; with another one it raises Conflict.

        Raises NotFound naming `user_id` for somebody whom the caller does not meet in any workspace.
        """
        ...

    async def change_member(self, scope: Scope, workspace_id: str, user_id: str, role: WorkspaceRole) -> Workspace:
        """Raises NotFound for whoever is no member, and Conflict when no owner would be left."""
        ...

    async def remove_member(self, scope: Scope, workspace_id: str, user_id: str, now: datetime) -> Removal:
        """With their grants and keys in it; any member may leave. Raises as `change_member`."""
        ...

    async def all(self) -> list[Workspace]:
        """Every one, oldest first."""
        ...

    async def by_ids(self, scope: Scope, workspace_ids: Sequence[str]) -> dict[str, Workspace]:
        """Those that the caller may enter."""
        ...

    async def of_users(self, scope: Scope, user_ids: Sequence[str]) -> dict[str, list[Workspace]]:
        """Memberships by user, oldest workspace first, where the caller may enter, too; an empty list for nobody."""
        ...

    async def members(self, scope: Scope, workspace_ids: Sequence[str]) -> dict[str, list[Member]]:
        """By workspace, in the order in which they came; nobody where the caller may not enter."""
        ...


def slug_of(text: str, *, field: str = "slug") -> str:
    """The short name of a workspace in headers. Raises BadUserInput."""
    if _SLUG.fullmatch(text) is None:
        raise BadUserInput(
            "expected 1 to 63 lower-case letters, digits or '-', starting with a letter or digit", field=field
        )
    if ids.looks_like_id(text):
        raise BadUserInput("a name may not look like an id", field=field)
    return text


class Workspaces:
    """The use-cases.

    After the commit, `changed` is told whose rights changed (None: everybody's) and `keys_ended` which keys are gone.
    """

    def __init__(
        self,
        *,
        repository: WorkspaceRepository,
        now: Callable[[], datetime],
        changed: Callable[[str | None], None],
        keys_ended: Callable[[Sequence[EndedKey]], Awaitable[None]],
    ) -> None:
        self._repository = repository
        self._now = now
        self._changed = changed
        self._keys_ended = keys_ended

    # --- reading -------------------------------------------------------------------------------------

    async def mine(self, scope: Scope) -> list[Workspace]:
        """Those the caller may enter, oldest first: an administrator every one, an API key its own."""
        caller = scope.principal
        if caller.api_key_id is not None:
            return list((await self._repository.by_ids(scope, [scope.workspace_id])).values())
        if caller.confined:
            return []
        if caller.role is UserRole.ADMIN:
            return await self._repository.all()
        return (await self._repository.of_users(scope, [caller.user_id]))[caller.user_id]

    async def by_ids(self, scope: Scope, workspace_ids: Sequence[str]) -> dict[str, Workspace]:
        """Those of them that the caller may enter."""
        return await self._repository.by_ids(scope, _entered(scope, workspace_ids))

    async def of_users(self, scope: Scope, user_ids: Sequence[str]) -> dict[str, list[Workspace]]:
        """What these users belong to, as far as the caller may enter it, too; nothing for one who must act first."""
        if scope.principal.confined:
            return {user_id: [] for user_id in user_ids}
        return await self._repository.of_users(scope, user_ids)

    async def members(self, scope: Scope, workspace_ids: Sequence[str]) -> dict[str, list[Member]]:
        """Who belongs to these workspaces; nobody where the caller does not. Raises Forbidden for API keys."""
        _require_person(scope)
        return await self._repository.members(scope, workspace_ids)

    # --- workspaces ----------------------------------------------------------------------------------

    async def create(self, scope: Scope, *, slug: str, name: str, client_token: str | None = None) -> Workspace:
        """A new workspace with the caller as its owner.

        Raises Forbidden for API keys, BadUserInput, and Conflict: the slug is taken (field `slug`), or too many exist.
        """
        _require_person(scope)
        token = ClientToken.of(client_token, "workspaceCreate", slug=slug, name=name)
        workspace = Workspace(ids.new("wsp"), slug_of(slug), names.title(name), self._now())
        made = await self._repository.create(scope, workspace, token)
        self._changed(scope.principal.user_id)
        return made

    async def update(self, scope: Scope, workspace_id: str, *, name: str | Keep = KEEP) -> Workspace:
        """Changes what is not KEEP. Raises BadUserInput, NotFound, Forbidden."""
        _require_person(scope)
        checked = name if isinstance(name, Keep) else names.title(name)
        return await self._repository.rename(scope, ids.parse("wsp", workspace_id), checked)

    async def delete(self, scope: Scope, workspace_id: str) -> str:
        """Removes an empty workspace, and frees its slug; its id.

        Raises BadUserInput, NotFound, Forbidden, and Conflict while it holds anything, or is the last one.
        """
        _require_person(scope)
        canonical = ids.parse("wsp", workspace_id)
        ended = await self._repository.delete(scope, canonical, self._now())
        self._changed(None)
        await self._keys_ended(ended)
        return canonical

    # --- members -------------------------------------------------------------------------------------

    async def add_member(self, scope: Scope, workspace_id: str, *, user_id: str, role: WorkspaceRole) -> Workspace:
        """Again with the same role changes nothing.

        Raises BadUserInput, NotFound (of the workspace; or, field `user_id`, of a user whom the caller meets nowhere),
        Forbidden, and Conflict for a member with another role, or too many.
        """
        place, user = _checked(scope, workspace_id, user_id)
        workspace = await self._repository.add_member(scope, place, user, role)
        self._changed(user)
        return workspace

    async def change_member(self, scope: Scope, workspace_id: str, *, user_id: str, role: WorkspaceRole) -> Workspace:
        """Raises BadUserInput, NotFound, Forbidden, and Conflict when no owner would be left."""
        place, user = _checked(scope, workspace_id, user_id)
        workspace = await self._repository.change_member(scope, place, user, role)
        self._changed(user)
        return workspace

    async def remove_member(self, scope: Scope, workspace_id: str, *, user_id: str) -> Workspace:
        """With their grants and API keys in the workspace. Every member may leave; owners remove others.

        Raises BadUserInput, NotFound (also when it is done already), Forbidden, and Conflict when no owner would be
        left.
        """
        place, user = _checked(scope, workspace_id, user_id)
        removed = await self._repository.remove_member(scope, place, user, self._now())
        self._changed(user)
        await self._keys_ended(removed.keys)
        return removed.workspace


def _checked(scope: Scope, workspace_id: str, user_id: str) -> tuple[str, str]:
    _require_person(scope)
    return ids.parse("wsp", workspace_id, field="workspace_id"), ids.parse("usr", user_id, field="user_id")


def _entered(scope: Scope, workspace_ids: Sequence[str]) -> Sequence[str]:
    """An API key knows of its own workspace only."""
    if scope.principal.api_key_id is None:
        return workspace_ids
    return [one for one in workspace_ids if one == scope.workspace_id]


def _require_person(scope: Scope) -> None:
    if scope.principal.api_key_id is not None:
        raise Forbidden("API keys may not manage workspaces or see their members; sign in instead")
