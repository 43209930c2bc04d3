"""Grants: explicit records of what one member may or may not do with one object, or with all of a kind.

`domain.access` decides what they mean; here they are made, listed, changed and removed, by owners of the workspace
and nobody else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, Protocol

from domain import ids
from domain.access import ID_KINDS, Action, Effect, ResourceKind, Scope
from domain.errors import BadUserInput, NotFound
from domain.idempotency import ClientToken
from domain.paging import Keyset, Page, PageRequest
from domain.patch import KEEP, Keep

MAX_GRANTS: Final = 1_000
MAX_ACTIONS: Final = 16

_ACTIONS: Final[Mapping[ResourceKind, tuple[Action, ...]]] = {
    ResourceKind.RUNS: (Action.READ, Action.WRITE, Action.DELETE),
    ResourceKind.MODELS: (Action.READ, Action.WRITE, Action.DELETE),
    ResourceKind.ENDPOINTS: (Action.READ, Action.WRITE, Action.DELETE, Action.PREDICT),
    ResourceKind.NOTEBOOKS: (Action.READ, Action.WRITE, Action.DELETE, Action.EXECUTE),
}
_KINDS: Final[Mapping[str, ResourceKind]] = {prefix: kind for kind, prefix in ID_KINDS.items()}


@dataclass(frozen=True, slots=True)
class Grant:
    """One record. `resource` None means all of the kind; it counts no more from `expires_at` on."""

    id: str
    user_id: str
    about: ResourceKind
    resource: str | None
    held: frozenset[Action]
    effect: Effect
    expires_at: datetime | None
    created_at: datetime
    created_by: str | None

    @property
    def kind(self) -> str:
        """The name of the kind."""
        return self.about.value

    @property
    def actions(self) -> list[str]:
        """The names of the actions, in a fixed order."""
        return [action.value for action in Action if action in self.held]


@dataclass(frozen=True, slots=True)
class GrantListing:
    """Which records to list, newest first. With `about`, those on `resource`, where None means all of the kind."""

    page: PageRequest
    offset: int
    user_id: str | None
    about: ResourceKind | None
    resource: str | None
    keyset: Keyset


class GrantRepository(Protocol):
    """Rows of grants in the workspace of a scope. Each method is one atomic unit.

    Whatever changes one takes the workspace's lock first, and raises NotFound unless the caller is in it now, and
    Forbidden unless as an owner.
    """

    async def create(self, scope: Scope, grant: Grant, token: ClientToken | None) -> Grant:
        """Raises Conflict for a record that there is already, or too many.

        Raises NotFound when the user is no member (field `user_id`), or the object not in the workspace (`resource`).
        """
        ...

    async def change(self, scope: Scope, grant_id: str, decide: Callable[[Grant], Grant]) -> Grant:
        """Lets `decide` answer what it becomes. Raises NotFound, and Conflict when there is such a record already."""
        ...

    async def delete(self, scope: Scope, grant_id: str) -> Grant:
        """The record that was. Raises NotFound."""
        ...

    async def by_ids(self, scope: Scope, grant_ids: Sequence[str]) -> dict[str, Grant]: ...

    async def page(self, scope: Scope, listing: GrantListing) -> Page[Grant]: ...


class Grants:
    """The use-cases. `changed` is told, after the commit, whose rights changed."""

    def __init__(
        self, *, repository: GrantRepository, now: Callable[[], datetime], changed: Callable[[str | None], None]
    ) -> None:
        self._repository = repository
        self._now = now
        self._changed = changed

    async def create(
        self,
        scope: Scope,
        *,
        user_id: str,
        kind: str,
        resource: str | None,
        actions: Sequence[str],
        effect: Effect = Effect.ALLOW,
        expires_at: datetime | None = None,
        client_token: str | None = None,
    ) -> Grant:
        """Raises Forbidden, BadUserInput, NotFound and Conflict, naming the field; see `GrantRepository.create`."""
        scope.require_owner()
        token = ClientToken.of(
            client_token,
            "grantCreate",
            user_id=user_id,
            kind=kind,
            resource=resource,
            actions=list(actions),
            effect=effect.value,
            expires_at=expires_at,
        )
        about = parse_kind(kind)
        now = self._now()
        grant = Grant(
            id=ids.new("grt"),
            user_id=ids.parse("usr", user_id, field="user_id"),
            about=about,
            resource=None if resource is None else ids.parse(ID_KINDS[about], resource, field="resource"),
            held=parse_actions(about, actions),
            effect=effect,
            expires_at=_expiry(expires_at, now),
            created_at=now,
            created_by=scope.principal.user_id,
        )
        made = await self._repository.create(scope, grant, token)
        self._changed(made.user_id)
        return made

    async def update(
        self,
        scope: Scope,
        grant_id: str,
        *,
        actions: Sequence[str] | Keep = KEEP,
        effect: Effect | Keep = KEEP,
        expires_at: datetime | Keep | None = KEEP,
    ) -> Grant:
        """Changes what is not KEEP. Raises Forbidden, BadUserInput, NotFound, Conflict."""
        scope.require_owner()
        ends = expires_at if isinstance(expires_at, Keep) else _expiry(expires_at, self._now())

        def decide(grant: Grant) -> Grant:
            return replace(
                grant,
                held=grant.held if isinstance(actions, Keep) else parse_actions(grant.about, actions),
                effect=grant.effect if isinstance(effect, Keep) else effect,
                expires_at=grant.expires_at if isinstance(ends, Keep) else ends,
            )

        changed = await self._repository.change(scope, ids.parse("grt", grant_id), decide)
        self._changed(changed.user_id)
        return changed

    async def delete(self, scope: Scope, grant_id: str) -> str:
        """Removes a record; its id. Raises Forbidden, BadUserInput, NotFound."""
        scope.require_owner()
        removed = await self._repository.delete(scope, ids.parse("grt", grant_id))
        self._changed(removed.user_id)
        return removed.id

    async def get(self, scope: Scope, grant_id: str) -> Grant:
        """Raises Forbidden, BadUserInput, NotFound."""
        scope.require_owner()
        canonical = ids.parse("grt", grant_id)
        found = (await self._repository.by_ids(scope, [canonical])).get(canonical)
        if found is None:
            raise NotFound("there is no such permission record", field="id")
        return found

    async def page(
        self,
        scope: Scope,
        page: PageRequest,
        *,
        resource: str | None = None,
        user_id: str | None = None,
        offset: int = 0,
    ) -> Page[Grant]:
        """Records of the workspace, newest first; `resource` is an id, or a kind for records on all of it.

        Raises Forbidden, BadUserInput.
        """
        scope.require_owner()
        user = None if user_id is None else ids.parse("usr", user_id, field="user_id")
        about, canonical = (None, None) if resource is None else parse_resource(resource)
        binding = ("grants", scope.workspace_id, user or "", canonical or (about.value if about else ""))
        keyset = Keyset(binding, (datetime, str))
        return await self._repository.page(scope, GrantListing(page, offset, user, about, canonical, keyset))


def parse_kind(text: str, *, field: str = "kind") -> ResourceKind:
    """Raises BadUserInput for an unknown kind, naming the known ones."""
    try:
        return ResourceKind(text)
    except ValueError:
        known = ", ".join(kind.value for kind in ResourceKind)
        raise BadUserInput(f"unknown kind {text[:64]!r}; expected one of {known}", field=field) from None


def parse_resource(text: str, *, field: str = "resource") -> tuple[ResourceKind, str | None]:
    """What an id with its prefix names, or the name of a kind: (kind, id), or (kind, None). Raises BadUserInput."""
    if text in {kind.value for kind in ResourceKind}:
        return ResourceKind(text), None
    known = ", ".join(kind.value for kind in ResourceKind)
    refusal = f"expected the id of a run, model, endpoint or notebook, or one of {known} for all of a kind"
    try:
        prefix = ids.kind_of(text, field=field)
    except BadUserInput:
        raise BadUserInput(refusal, field=field) from None
    kind = _KINDS.get(prefix)
    if kind is None:
        raise BadUserInput(refusal, field=field)
    return kind, text


def parse_actions(kind: ResourceKind, texts: Sequence[str], *, field: str = "actions") -> frozenset[Action]:
    """Raises BadUserInput for none, too many, and what cannot be done with this kind."""
    if not 1 <= len(texts) <= MAX_ACTIONS:
        raise BadUserInput(f"expected 1 to {MAX_ACTIONS} actions, got {len(texts)}", field=field)
    known = {action.value: action for action in _ACTIONS[kind]}
    for place, text in enumerate(texts):
        if text not in known:
            raise BadUserInput(
                f"nothing that can be done with {kind.value}: {text[:64]!r}; expected some of {', '.join(known)}",
                field=f"{field}[{place}]",
            )
    return frozenset(known[text] for text in texts)


def _expiry(expires_at: datetime | None, now: datetime) -> datetime | None:
    if expires_at is not None and expires_at <= now:
        raise BadUserInput("expected a time in the future", field="expires_at")
    return expires_at
