"""What a signed-in caller may do who must do something else first, or belongs to no workspace.

The lists are in `server.edge.public`; this finds the one that holds, for the gate and for the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domain.access import Scope
from domain.errors import DomainError, Forbidden, MfaRequired
from server.edge import public

CHANGE_FIRST: Final = (
    "somebody else chose this password: change it first, by passwordChange or on the page /account, to do anything else"
)
ADD_FACTOR_FIRST: Final = (
    "this server requires a second factor: add one first, by mfaTotpSetup and mfaTotpEnable, by webauthnRegisterStart"
    " and webauthnRegisterFinish, or on the page /account, to do anything else"
)
JOIN_FIRST: Final = (
    "you belong to no workspace, so only your own account is open to you: accept an invite by inviteAccept, make a"
    " workspace by workspaceCreate, or ask an administrator to add you to one"
)


@dataclass(frozen=True, slots=True)
class Confinement:
    """The routes and root fields that are left, and what is said about all others."""

    routes: frozenset[tuple[str, str]]
    fields: dict[str, frozenset[str]]
    kind: type[DomainError]
    message: str

    def check_route(self, method: str, path: str) -> None:
        """Raises the refusal of what is not on the list. The path of an object is listed with `{id}` at its end."""
        if (method, path) not in self.routes and (method, f"{path.rpartition('/')[0]}/{{id}}") not in self.routes:
            raise self.kind(self.message)

    def check_fields(self, kind: str, names: frozenset[str]) -> None:
        """Raises the refusal unless all root fields of an operation of this kind are on the list, or public."""
        if not names <= public.ROOT_FIELDS[kind] | self.fields[kind]:
            raise self.kind(self.message)


_CHANGING: Final = Confinement(public.CHANGING_ROUTES, public.CHANGING_FIELDS, Forbidden, CHANGE_FIRST)
_ADDING_FACTOR: Final = Confinement(
    public.ADDING_FACTOR_ROUTES, public.ADDING_FACTOR_FIELDS, MfaRequired, ADD_FACTOR_FIRST
)
_NOWHERE: Final = Confinement(public.NOWHERE_ROUTES, public.NOWHERE_FIELDS, Forbidden, JOIN_FIRST)


def confinement_of(scope: Scope) -> Confinement | None:
    """What holds for this caller; None: nothing but their rights. Of several the one that must be dealt with first."""
    if scope.principal.must_change_password:
        return _CHANGING
    if scope.principal.must_add_factor:
        return _ADDING_FACTOR
    return _NOWHERE if scope.nowhere else None
