"""Shapes of sign-in, the signed-in user and API keys. Secrets appear only where they are issued."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from server.rest.structs.common import AnswerBody, DateTime, NextCursor, RequestBody, Title, Total

Email = Annotated[str, Meta(min_length=3, max_length=254)]
Password = Annotated[str, Meta(min_length=1, max_length=1_024)]
Secret = Annotated[str, Meta(min_length=1, max_length=4_096)]


class UserRole(StrEnum):
    """What a user may do on the whole instance; roles inside a workspace are separate."""

    ADMIN = "admin"
    USER = "user"


class SessionMode(StrEnum):
    """How the tokens travel: in the answer's body, or in HttpOnly cookies that scripts cannot read."""

    TOKEN = "token"  # noqa: S105  (the name of a mode, not a secret)
    COOKIE = "cookie"


class ApiKeyScope(StrEnum):
    """One thing that an API key may do, as far as its owner may."""

    RUNS_READ = "runs:read"
    RUNS_WRITE = "runs:write"
    MODELS_READ = "models:read"
    MODELS_WRITE = "models:write"
    ENDPOINTS_READ = "endpoints:read"
    ENDPOINTS_WRITE = "endpoints:write"
    ENDPOINTS_PREDICT = "endpoints:predict"
    STATS_READ = "stats:read"


class User(AnswerBody, kw_only=True):
    """A person with an account."""

    id: Annotated[str, Meta(description="User id (`usr_…`).")]
    email: Annotated[str, Meta(description="Address used to sign in; unique, compared without case.")]
    name: Annotated[str, Meta(description="Display name.")]
    role: Annotated[UserRole, Meta(description="Role on the instance.")]
    mfa_enabled: Annotated[bool, Meta(description="Whether signing in asks for a second factor.")]
    must_change_password: Annotated[
        bool,
        Meta(description="Whether somebody else chose the password: sessions are good for changing it alone."),
    ]
    must_add_factor: Annotated[
        bool,
        Meta(
            description="Whether the server requires a second factor and there is none: sessions are good for adding"
            " one alone, all else is MFA_REQUIRED, and API keys do not work."
        ),
    ]
    created_at: Annotated[DateTime, Meta(description="When the account was made.")]
    last_login_at: Annotated[DateTime | None, Meta(description="Last successful sign-in; null before it.")]


class TokenPair(AnswerBody, kw_only=True):
    """A new or renewed session. With `session: "cookie"` both tokens are set as cookies and left out here."""

    token: Annotated[
        str | UnsetType,
        Meta(description="Access token for `Authorization: Bearer`; lives `expires_in` seconds."),
    ] = UNSET
    refresh_token: Annotated[str | UnsetType, Meta(description="Opaque; buys the next pair once. Keep it secret.")] = (
        UNSET
    )
    expires_in: Annotated[int, Meta(description="Seconds until the access token expires.")]
    user: Annotated[User, Meta(description="Who signed in.")]


class MfaChallenge(AnswerBody, kw_only=True):
    """The password was right and a second factor must follow."""

    requires_mfa: Annotated[bool, Meta(description="Always true.", extra_json_schema={"const": True})]
    mfa_token: Annotated[
        str, Meta(description="Short-lived proof of the first factor; good for the second factor only.")
    ]


class SetupRequest(RequestBody, kw_only=True):
    """The first administrator of an empty instance."""

    token: Annotated[Secret, Meta(description="The one-time setup token that the server printed when it started.")]
    email: Annotated[Email, Meta(description="Address to sign in with.")]
    password: Annotated[
        Password,
        Meta(description="At least 15 characters, 8 where everybody needs a second factor, and not easily guessed."),
    ]
    name: Annotated[Title | None, Meta(description="Display name; the part before the @ when left out.")] = None
    session: Annotated[SessionMode, Meta(description="How the tokens travel.")] = SessionMode.TOKEN


class LoginRequest(RequestBody, kw_only=True):
    """First factor."""

    email: Annotated[Email, Meta(description="Address of the account.")]
    password: Annotated[Password, Meta(description="Password of the account.")]
    session: Annotated[SessionMode, Meta(description="How the tokens travel.")] = SessionMode.TOKEN


class RefreshRequest(RequestBody, kw_only=True):
    """A request for the next token pair."""

    refresh_token: Annotated[
        Secret | None, Meta(description="The newest refresh token; left out when it travels in its cookie.")
    ] = None


class ApiKey(AnswerBody, kw_only=True):
    """A long-lived credential for scripts. The secret itself is shown once, when the key is made."""

    id: Annotated[str, Meta(description="Key id (`key_…`).")]
    name: Annotated[str, Meta(description="What the key is for.")]
    prefix: Annotated[str, Meta(description="The public start of the key, to recognise it by.")]
    scopes: Annotated[list[str], Meta(description="What the key may do, such as `runs:write`.")]
    created_at: Annotated[DateTime, Meta(description="When the key was made.")]
    expires_at: Annotated[DateTime | None, Meta(description="When it stops working; null: never.")]
    last_used_at: Annotated[DateTime | None, Meta(description="Last use, to the minute; null: never used.")]
    revoked_at: Annotated[DateTime | None, Meta(description="When it was revoked; null while it works.")]


class ApiKeyCreated(AnswerBody, kw_only=True):
    """A new key together with its secret, which cannot be read again."""

    secret: Annotated[str, Meta(description="The key itself (`axk_…`); send it as `Authorization: Bearer`.")]
    api_key: Annotated[ApiKey, Meta(description="The key's record.")]


class ApiKeyList(AnswerBody, kw_only=True):
    """A page of the caller's keys, newest first."""

    items: Annotated[list[ApiKey], Meta(description="The keys of this page.")]
    total: Total
    next_cursor: NextCursor


class ApiKeyCreate(RequestBody, kw_only=True):
    """A key to be made for the caller."""

    name: Annotated[Title, Meta(description="What the key is for.")]
    scopes: Annotated[list[ApiKeyScope], Meta(min_length=1, max_length=16, description="What the key may do.")]
    expires_at: Annotated[
        DateTime | UnsetType | None,
        Meta(description="When it stops working; left out: 90 days from now; null: never."),
    ] = UNSET
