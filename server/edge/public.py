"""Everything that answers a caller who has not signed in. What is not written here is closed.

This is a literal list on purpose: opening something is a visible change to this file, and a test walks every
route, root field and protocol and compares. Nothing may be added by computation.
"""

from __future__ import annotations

from typing import Final

# Method and exact path. HEAD follows GET.
ROUTES: Final[frozenset[tuple[str, str]]] = frozenset(
    {
        ("GET", "/health"),
        ("GET", "/health/ready"),
        ("POST", "/api/auth/setup"),
        ("POST", "/api/auth/login"),
        ("POST", "/api/auth/register"),
        ("POST", "/api/auth/refresh"),
        ("POST", "/api/auth/mfa/totp/verify"),
        ("POST", "/api/auth/mfa/recovery"),
        ("POST", "/api/auth/mfa/webauthn/authenticate/start"),
        ("POST", "/api/auth/mfa/webauthn/authenticate/finish"),
    }
)

# Of these, what looks at credentials when they come: with a token of a first step it completes a sign-in, and for a
# signed-in caller it does something else.
EITHER_WAY: Final[frozenset[tuple[str, str]]] = frozenset({("POST", "/api/auth/mfa/totp/verify")})

# Pages that a person needs before signing in. They carry no data.
PAGES: Final[frozenset[tuple[str, str]]] = frozenset(
    {
        ("GET", "/"),
        ("GET", "/login"),
        ("GET", "/setup"),
        ("GET", "/favicon.ico"),
    }
)

# Pages of people who are signed in. A browser that brings no session is led to the login page and, from there, back;
# it is answered by the page's own route, which gets nobody to show the page to.
SIGNED_IN_PAGES: Final[frozenset[tuple[str, str]]] = frozenset({("GET", "/account")})

# Scripts and styles of those pages and of GraphiQL: files of the distribution, the same for everybody.
ASSETS: Final = "/assets/"

# The gate lets these through without credentials, because each operation, or the page, is checked by itself:
# GraphQL against the root fields below, the GraphQL WebSocket by its `connection_init`.
CHECKED_INSIDE: Final[frozenset[str]] = frozenset({"/graphql"})

ROOT_FIELDS: Final[dict[str, frozenset[str]]] = {
    "query": frozenset({"__typename", "serverInfo"}),
    "mutation": frozenset(
        {
            "__typename",
            "authSetup",
            "authLogin",
            "authRegister",
            "authRefresh",
            "mfaTotpVerify",
            "recoveryCodeUse",
            "webauthnAuthenticateStart",
            "webauthnAuthenticateFinish",
        }
    ),
    "subscription": frozenset(),
}

# What a session may do beside that whose password somebody else chose, until it is changed. The page that changes it is
# one of the pages above.
CHANGING_ROUTES: Final[frozenset[tuple[str, str]]] = frozenset({("GET", "/api/auth/me"), ("POST", "/api/auth/logout")})
CHANGING_FIELDS: Final[dict[str, frozenset[str]]] = {
    "query": frozenset({"viewer"}),
    "mutation": frozenset({"passwordChange", "authLogout"}),
    "subscription": frozenset(),
}

# What a session may do beside that of somebody without a second factor, where one is required, until there is one.
ADDING_FACTOR_ROUTES: Final[frozenset[tuple[str, str]]] = frozenset(
    {
        ("GET", "/api/auth/me"),
        ("POST", "/api/auth/logout"),
        ("POST", "/api/auth/mfa/totp/setup"),
        ("POST", "/api/auth/mfa/totp/enable"),
        ("POST", "/api/auth/mfa/webauthn/register/start"),
        ("POST", "/api/auth/mfa/webauthn/register/finish"),
    }
)
ADDING_FACTOR_FIELDS: Final[dict[str, frozenset[str]]] = {
    "query": frozenset({"viewer"}),
    "mutation": frozenset(
        {"mfaTotpSetup", "mfaTotpEnable", "webauthnRegisterStart", "webauthnRegisterFinish", "authLogout"}
    ),
    "subscription": frozenset(),
}

# What a session may do beside that of somebody who belongs to no workspace: manage their account, and come into one.
NOWHERE_ROUTES: Final[frozenset[tuple[str, str]]] = frozenset(
    {
        ("GET", "/api/auth/me"),
        ("GET", "/api/auth/export"),
        ("POST", "/api/auth/logout"),
        ("POST", "/api/auth/mfa/totp/setup"),
        ("POST", "/api/auth/mfa/totp/enable"),
        ("POST", "/api/auth/mfa/recovery/generate"),
        ("POST", "/api/auth/mfa/webauthn/register/start"),
        ("POST", "/api/auth/mfa/webauthn/register/finish"),
        ("DELETE", "/api/auth/mfa/webauthn/{id}"),
        ("PUT", "/api/admin/users/{id}"),
    }
)
NOWHERE_FIELDS: Final[dict[str, frozenset[str]]] = {
    "query": frozenset({"viewer", "workspaces", "__schema", "__type"}),
    "mutation": frozenset(
        {
            "authLogout",
            "authLogoutAll",
            "sessionRevoke",
            "passwordChange",
            "userUpdate",
            "mfaTotpSetup",
            "mfaTotpEnable",
            "mfaTotpDisable",
            "recoveryCodesGenerate",
            "webauthnRegisterStart",
            "webauthnRegisterFinish",
            "webauthnCredentialDelete",
            "inviteAccept",
            "workspaceCreate",
        }
    ),
    "subscription": frozenset(),
}
