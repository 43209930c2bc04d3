"""Who may come in: users, workspaces, sessions, API keys, and the one-time setup of an empty instance.

Everything here is decided before a `Scope` exists; nothing else in the domain may hand one out. Cryptography and
storage are ports.
"""

from __future__ import annotations

from domain.identity.entities import (
    Account,
    ApiKey,
    ApiKeySecret,
    AuthResult,
    ClientInfo,
    Founding,
    FoundingOutcome,
    Invite,
    KeyRecord,
    Membership,
    NewPendingSignIn,
    NewSession,
    PendingSignIn,
    Session,
    SessionPolicy,
    SessionRecord,
    SetupState,
    Tokens,
    User,
    Workspace,
)
from domain.identity.grants import Grant
from domain.identity.keys import KeyExpiry
from domain.identity.service import Identity
from domain.identity.workspaces import Member

__all__ = [
    "Account",
    "ApiKey",
    "ApiKeySecret",
    "AuthResult",
    "ClientInfo",
    "Founding",
    "FoundingOutcome",
    "Grant",
    "Identity",
    "Invite",
    "KeyExpiry",
    "KeyRecord",
    "Member",
    "Membership",
    "NewPendingSignIn",
    "NewSession",
    "PendingSignIn",
    "Session",
    "SessionPolicy",
    "SessionRecord",
    "SetupState",
    "Tokens",
    "User",
    "Workspace",
]
