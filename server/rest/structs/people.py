"""Shapes of registration, of accounts as administrators see them, and of what is kept about a person."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from server.rest.structs.auth import ApiKey, Email, Password, Secret, SessionMode, User, UserRole
from server.rest.structs.common import AnswerBody, DateTime, NextCursor, RequestBody, Title, Total


class WorkspaceRole(StrEnum):
    """What a member may do in a workspace."""

    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"


class CredentialKind(StrEnum):
    """What somebody signs in with beside a password."""

    TOTP = "totp"
    WEBAUTHN = "webauthn"
    RECOVERY = "recovery"


class RegisterRequest(RequestBody, kw_only=True):
    """A new account, as far as the registration policy allows."""

    email: Annotated[Email, Meta(description="Address to sign in with; with an invite, the invited one.")]
    password: Annotated[
        Password,
        Meta(description="At least 15 characters, 8 where everybody needs a second factor, and not easily guessed."),
    ]
    name: Annotated[Title | None, Meta(description="Display name; the part before the @ when left out.")] = None
    invite: Annotated[Secret | None, Meta(description="The invite's token, where registration needs one.")] = None
    session: Annotated[SessionMode, Meta(description="How the tokens travel.")] = SessionMode.TOKEN


class AdminUser(AnswerBody, kw_only=True):
    """An account as administrators see it."""

    id: Annotated[str, Meta(description="User id (`usr_…`).")]
    email: Annotated[str, Meta(description="Address used to sign in.")]
    name: Annotated[str, Meta(description="Display name.")]
    role: Annotated[UserRole, Meta(description="Role on the instance.")]
    mfa_enabled: Annotated[bool, Meta(description="Whether signing in asks for a second factor.")]
    disabled: Annotated[bool, Meta(description="Whether the account is switched off.")]
    must_change_password: Annotated[
        bool, Meta(description="Whether somebody else chose the password, which must be changed first.")
    ]
    locked_until: Annotated[
        DateTime | None, Meta(description="End of a wait after wrong passwords; null: sign-ins are looked at.")
    ]
    created_at: Annotated[DateTime, Meta(description="When the account was made.")]
    last_login_at: Annotated[DateTime | None, Meta(description="Last successful sign-in; null before it.")]


class AdminUserList(AnswerBody, kw_only=True):
    """A page of accounts, newest first."""

    items: Annotated[list[AdminUser], Meta(description="The accounts of this page.")]
    total: Total
    next_cursor: NextCursor


class AdminUserCreate(RequestBody, kw_only=True):
    """An account to be made."""

    email: Annotated[Email, Meta(description="Address to sign in with.")]
    password: Annotated[Password, Meta(description="First password, which its owner must change before anything else.")]
    name: Annotated[Title | None, Meta(description="Display name; the part before the @ when left out.")] = None
    role: Annotated[UserRole, Meta(description="Role on the instance.")] = UserRole.USER


class AdminUserPatch(RequestBody, kw_only=True):
    """Changes to an account. What is left out stays."""

    email: Annotated[Email | UnsetType, Meta(description="New address.")] = UNSET
    name: Annotated[Title | UnsetType, Meta(description="New display name.")] = UNSET
    role: Annotated[UserRole | UnsetType, Meta(description="New role.")] = UNSET
    password: Annotated[
        Password | UnsetType,
        Meta(description="New password, which its owner must change first; ends every session of the user."),
    ] = UNSET
    disabled: Annotated[
        bool | UnsetType, Meta(description="True switches the account off and ends its sessions; false on again.")
    ] = UNSET


class ExportedMembership(AnswerBody, kw_only=True):
    """A workspace somebody belongs to."""

    workspace: Annotated[str, Meta(description="Slug of the workspace.")]
    name: Annotated[str, Meta(description="Its name.")]
    role: Annotated[WorkspaceRole, Meta(description="What they are in it.")]


class ExportedSession(AnswerBody, kw_only=True):
    """A session, over or not."""

    id: Annotated[str, Meta(description="Session id (`ses_…`).")]
    created_at: Annotated[DateTime, Meta(description="When it was opened.")]
    last_seen_at: Annotated[DateTime, Meta(description="Last use, to the minute.")]
    expires_at: Annotated[DateTime, Meta(description="When it ends at the latest.")]
    ended_at: Annotated[DateTime | None, Meta(description="When it was ended; null: it was not.")]
    user_agent: Annotated[str | None, Meta(description="What opened it.")]
    address: Annotated[str | None, Meta(description="From which address it was opened.")]


class ExportedCredential(AnswerBody, kw_only=True):
    """A second factor, without its secret."""

    kind: Annotated[CredentialKind, Meta(description="Which kind.")]
    name: Annotated[str, Meta(description="Its name.")]
    created_at: Annotated[DateTime, Meta(description="When it was added.")]
    last_used_at: Annotated[DateTime | None, Meta(description="Last use; null: never.")]


class UserExport(AnswerBody, kw_only=True):
    """What is kept about the caller, without secrets."""

    user: Annotated[User, Meta(description="The account.")]
    memberships: Annotated[list[ExportedMembership], Meta(description="The caller's workspaces.")]
    sessions: Annotated[list[ExportedSession], Meta(description="Sessions, newest first; the newest 1,000.")]
    api_keys: Annotated[list[ApiKey], Meta(description="API keys of all workspaces; the newest 1,000.")]
    credentials: Annotated[list[ExportedCredential], Meta(description="Second factors.")]
