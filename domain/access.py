"""Who acts, and where: the principal and the scope that every use-case and every repository read takes.

A `Scope` is the only way to reach a row. This module decides nothing about single resources; it answers only
"may this principal write here at all" and "does this API key carry that scope".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from domain.errors import Forbidden


class UserRole(Enum):
    """Role on the whole instance."""

    ADMIN = "admin"
    USER = "user"


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


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated caller: a user through a session, or through one of the user's API keys.

    `scopes` is None for a session (everything the user may do) and a set for an API key.
    """

    user_id: str
    email: str
    role: UserRole
    session_id: str | None = None
    api_key_id: str | None = None
    scopes: frozenset[KeyScope] | None = None

    def allows(self, scope: KeyScope) -> bool:
        """Whether this principal carries `scope`; a write scope includes the read scope of its noun."""
        if self.scopes is None or scope in self.scopes:
            return True
        noun, _, action = scope.value.partition(":")
        return action == "read" and any(held.value == f"{noun}:write" for held in self.scopes)


@dataclass(frozen=True, slots=True)
class Scope:
    """One workspace, seen by one principal."""

    workspace_id: str
    principal: Principal

    def require(self, key_scope: KeyScope) -> None:
        """Raises Forbidden unless the principal carries `key_scope`."""
        if not self.principal.allows(key_scope):
            raise Forbidden(f"this API key lacks the scope '{key_scope.value}'")

    def require_session(self) -> None:
        """Raises Forbidden for API keys: credentials and sessions are managed by signed-in people only."""
        if self.principal.api_key_id is not None:
            raise Forbidden("API keys may not manage credentials; sign in instead")
