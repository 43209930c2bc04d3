"""Who acts, and where: the principal and the scope that every use-case and every repository read takes.

A `Scope` is the only way to reach a row. What it lets its principal do is decided here by `Access`, purely from the
role in the workspace and the explicit rules about single objects; lists are filtered by the `Reach` of the same
decision. Nothing of this is written into tokens, so a change acts as soon as the account is read again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final

from domain import ids
from domain.errors import Forbidden, NotFound


class UserRole(Enum):
    """Role on the whole instance. Administrators act as owners of every workspace."""

    ADMIN = "admin"
    USER = "user"


class WorkspaceRole(Enum):
    """What a member may do in a workspace."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"


class ResourceKind(Enum):
    """Kinds of objects that rules can be about. Experiments, metrics and logs follow runs; versions follow models."""

    RUNS = "runs"
    MODELS = "models"
    ENDPOINTS = "endpoints"
    NOTEBOOKS = "notebooks"


ID_KINDS: Final[Mapping[ResourceKind, ids.Kind]] = {
    ResourceKind.RUNS: "run",
    ResourceKind.MODELS: "mdl",
    ResourceKind.ENDPOINTS: "end",
    ResourceKind.NOTEBOOKS: "nbk",
}


class Action(Enum):
    """What can be done with an object."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    PREDICT = "predict"
    EXECUTE = "execute"


class Effect(Enum):
    """Whether a rule allows or forbids."""

    ALLOW = "allow"
    DENY = "deny"


_BY_ROLE: Final = {
    WorkspaceRole.OWNER: frozenset(Action),
    WorkspaceRole.EDITOR: frozenset(Action),
    WorkspaceRole.VIEWER: frozenset({Action.READ}),
}


@dataclass(frozen=True, slots=True)
class Rule:
    """That a member may, or may not, do something with one object, or with all of a kind (`resource_id` None).

    From `expires_at` on it says nothing any more.
    """

    kind: ResourceKind
    actions: frozenset[Action]
    effect: Effect
    resource_id: str | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reach:
    """A set of objects: everything but `ids` when `everything`, else `ids` alone."""

    everything: bool
    ids: frozenset[str] = frozenset()

    def __contains__(self, object_id: str) -> bool:
        return (object_id in self.ids) is not self.everything

    @property
    def whole(self) -> bool:
        """Whether nothing is left out."""
        return self.everything and not self.ids


EVERYTHING: Final = Reach(everything=True)


@dataclass(frozen=True, slots=True)
class Access:
    """What somebody may do in one workspace: their role, widened by rules that allow and narrowed by those that deny.

    A denial wins over everything that allows, except that nobody can deny an owner anything.
    """

    role: WorkspaceRole
    rules: tuple[Rule, ...] = ()

    def at(self, now: datetime) -> Access:
        """The same without rules that have expired."""
        if all(rule.expires_at is None or now < rule.expires_at for rule in self.rules):
            return self
        kept = (rule for rule in self.rules if rule.expires_at is None or now < rule.expires_at)
        return Access(self.role, tuple(kept))

    @property
    def unbound(self) -> bool:
        """Whether everything may be done with every object: what nearly every caller is, told by nearly nothing."""
        return self.role is WorkspaceRole.OWNER or (not self.rules and self.role is WorkspaceRole.EDITOR)

    def may(self, kind: ResourceKind, action: Action, object_id: str | None) -> bool:
        """Whether this may be done with that object; None: with a new one."""
        if self.unbound:
            return True
        spoken = {
            rule.effect
            for rule in self._about(kind, action)
            if rule.resource_id is None or rule.resource_id == object_id
        }
        return Effect.DENY not in spoken and (action in _BY_ROLE[self.role] or Effect.ALLOW in spoken)

    def reach(self, kind: ResourceKind, action: Action) -> Reach:
        """The objects of a kind with which this may be done."""
        if self.unbound:
            return EVERYTHING
        about = list(self._about(kind, action))
        denied = {rule.resource_id for rule in about if rule.effect is Effect.DENY}
        allowed = {rule.resource_id for rule in about if rule.effect is Effect.ALLOW}
        if None in denied:
            return Reach(everything=False)
        if action in _BY_ROLE[self.role] or None in allowed:
            return Reach(everything=True, ids=_some(denied)) if denied else EVERYTHING
        return Reach(everything=False, ids=_some(allowed) - _some(denied))

    def _about(self, kind: ResourceKind, action: Action) -> Iterable[Rule]:
        return (rule for rule in self.rules if rule.kind is kind and action in rule.actions)


# The id of no workspace: nothing lies in it.
NOWHERE: Final = f"wsp_{0:032x}"
NOTHING: Final = Access(
    WorkspaceRole.VIEWER, tuple(Rule(kind, frozenset(Action), Effect.DENY) for kind in ResourceKind)
)


def _some(ids: Iterable[str | None]) -> frozenset[str]:
    return frozenset(one for one in ids if one is not None)


class KeyScope(Enum):
    """What an API key may do. A key never exceeds its owner."""

    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    ENDPOINTS_READ = "endpoints:read"
    ENDPOINTS_WRITE = "endpoints:write"
    PREDICT = "endpoints:predict"
    STATS_READ = "stats:read"


# What a scope of a key asks of its owner; nothing in a workspace for figures of the whole server.
_ASKS: Final = {
    KeyScope.RUNS_READ: (ResourceKind.RUNS, Action.READ),
    KeyScope.RUNS_WRITE: (ResourceKind.RUNS, Action.WRITE),
    KeyScope.MODELS_READ: (ResourceKind.MODELS, Action.READ),
    KeyScope.MODELS_WRITE: (ResourceKind.MODELS, Action.WRITE),
    KeyScope.ENDPOINTS_READ: (ResourceKind.ENDPOINTS, Action.READ),
    KeyScope.ENDPOINTS_WRITE: (ResourceKind.ENDPOINTS, Action.WRITE),
    KeyScope.PREDICT: (ResourceKind.ENDPOINTS, Action.PREDICT),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller: a user through a session, or through one of the user's API keys.

    `scopes` is None for a session (everything the user may do) and a set for an API key. A session that
    `must_change_password` or `must_add_factor` is good for that alone, in this order.
    """

    user_id: str
    email: str
    role: UserRole
    session_id: str | None = None
    api_key_id: str | None = None
    scopes: frozenset[KeyScope] | None = None
    must_change_password: bool = False
    must_add_factor: bool = False

    @property
    def confined(self) -> bool:
        """Whether something must be done first, and nothing else is open until then."""
        return self.must_change_password or self.must_add_factor

    def allows(self, scope: KeyScope) -> bool:
        """Whether this principal carries `scope`; a write scope includes the read scope of its noun."""
        if self.scopes is None or scope in self.scopes:
            return True
        noun, _, action = scope.value.partition(":")
        return action == "read" and any(held.value == f"{noun}:write" for held in self.scopes)


@dataclass(frozen=True, slots=True)
class Scope:
    """One workspace, seen by one principal; NOWHERE for a caller who is in none, or confined."""

    workspace_id: str
    principal: Principal
    access: Access

    @property
    def nowhere(self) -> bool:
        """Whether there is no workspace: what is the caller's own can be managed all the same."""
        return self.workspace_id == NOWHERE

    def carry(self, key_scope: KeyScope) -> None:
        """Raises Forbidden when an API key lacks `key_scope`. Whoever lists asks this, and filters by `reach`."""
        if not self.principal.allows(key_scope):
            raise Forbidden(f"this API key lacks the scope '{key_scope.value}'")

    def require(
        self, key_scope: KeyScope, object_id: str | None = None, *, action: Action | None = None, field: str = "id"
    ) -> None:
        """That the principal may do this with that object, which exists; None: with a new one.

        `action` defaults to the one the scope is named after. What may not be read may not be changed either. Raises
        Forbidden; NotFound naming `field` when the object may not even be read.
        """
        self.carry(key_scope)
        if self.access.unbound:
            return
        kind, usual = _ASKS[key_scope]
        wanted = usual if action is None else action
        if object_id is not None and not self.access.may(kind, Action.READ, object_id):
            raise NotFound(f"there is no such {_SINGULAR[kind]}", field=field)
        for each in (Action.READ, wanted):
            if not self.access.may(kind, each, object_id):
                which = f"these {kind.value}" if object_id is None else f"this {_SINGULAR[kind]}"
                raise Forbidden(f"your role in this workspace does not let you {each.value} {which}")

    async def require_of(
        self,
        key_scope: KeyScope,
        object_id: str,
        exists: Callable[[Scope, str], Awaitable[bool]],
        *,
        action: Action | None = None,
        field: str = "id",
    ) -> None:
        """As `require`, of an object that may be missing: a refusal does not tell that it is there.

        `exists` is asked only when the principal is refused. Whoever is not leaves it to the change to miss the object.
        """
        try:
            self.require(key_scope, object_id, action=action, field=field)
        except Forbidden:
            self.carry(key_scope)
            if await exists(self, object_id):
                raise
            raise NotFound(f"there is no such {_SINGULAR[_ASKS[key_scope][0]]}", field=field) from None

    def reach(self, kind: ResourceKind, action: Action = Action.READ) -> Reach:
        """The objects of a kind with which the principal may do this."""
        return self.access.reach(kind, action)

    def require_session(self) -> None:
        """Raises Forbidden for API keys: credentials and sessions are managed by signed-in people only."""
        if self.principal.api_key_id is not None:
            raise Forbidden("API keys may not manage credentials; sign in instead")

    def require_owner(self) -> None:
        """Raises Forbidden unless the principal is a signed-in owner of the workspace (or an administrator)."""
        self.require_session()
        if self.access.role is not WorkspaceRole.OWNER:
            raise Forbidden("only owners of this workspace may do this")

    def require_admin(self) -> None:
        """Raises Forbidden unless the principal is a signed-in administrator of the instance."""
        self.require_session()
        if self.principal.role is not UserRole.ADMIN:
            raise Forbidden("only administrators may do this")


_SINGULAR: Final = {
    ResourceKind.RUNS: "run",
    ResourceKind.MODELS: "model",
    ResourceKind.ENDPOINTS: "endpoint",
    ResourceKind.NOTEBOOKS: "notebook",
}
