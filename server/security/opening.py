"""Puts identity together from its parts: the one place that knows which cryptography stands behind which port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from argon2 import PasswordHasher

from domain.clock import Clock
from domain.identity import Identity, SessionPolicy
from domain.identity.passkey_ports import RelyingParty
from domain.identity.ports import OpenConnections
from domain.identity.registration import RegistrationPolicy
from persistence.api_keys import PostgresApiKeys
from persistence.attempts import PostgresAttempts
from persistence.credentials import PostgresCredentials
from persistence.database import Database
from persistence.grants import PostgresGrants
from persistence.identity import PostgresIdentity
from persistence.invites import PostgresInvites
from persistence.passkeys import PostgresPasskeys
from persistence.pending import PostgresPending
from persistence.people import PostgresPeople
from persistence.recovery import PostgresRecovery
from persistence.sessions import PostgresSessions
from persistence.signing_keys import PostgresSigningKeys
from persistence.totp import PostgresTotp
from persistence.workspaces import PostgresWorkspaces
from server.security.apikeys import ApiKeys
from server.security.passwords import Argon2Passwords
from server.security.refresh import SealedRefreshTokens
from server.security.rotation import settle
from server.security.secrets import open_vault
from server.security.setup_token import SetupTokenFile
from server.security.tokens import open_access_tokens
from server.security.totp import SealedTotpCodes
from server.security.webauthn import WebauthnCeremonies
from server.settings import AuthSettings, ServerSettings

# The least that OWASP's Password Storage Cheat Sheet allows: 60 random bits need no more, and ten are hashed at once.
RECOVERY_CODES: Final = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)


def session_policy(settings: AuthSettings) -> SessionPolicy:
    """The lifetimes that the settings ask for; no session is idle for longer than it lives."""
    absolute = timedelta(hours=settings.jwt_expiry_hours)
    return SessionPolicy(
        access=min(timedelta(minutes=settings.access_token_minutes), absolute),
        idle=min(timedelta(minutes=settings.session_timeout_minutes), absolute),
        absolute=absolute,
    )


@asynccontextmanager
async def identity_opened(
    database: Database,
    settings: AuthSettings,
    data_dir: Path,
    clock: Clock,
    *,
    relying_party: RelyingParty | None = None,
    connections: OpenConnections | None = None,
    origin: str = ServerSettings().origin,
    keep: Callable[[str, Callable[[], Awaitable[None]]], None] | None = None,
    hasher: PasswordHasher | None = None,
) -> AsyncIterator[Identity]:
    """The use-cases of identity on a migrated database, for as long as the block runs.

    Without `relying_party` there are no passkeys. `origin` is where people reach the server. `keep` takes what runs in
    the background. `hasher` is for tests alone; the default has the parameters of production. Raises RootSecretError.
    """
    secret = settings.jwt_secret
    if secret is None:
        await settle(database, data_dir)
    vault = open_vault(None if secret is None else secret.get_secret_value(), data_dir)
    access_tokens = await open_access_tokens(PostgresSigningKeys(database), vault, clock)
    if keep is not None:
        keep("signing keys", access_tokens.watch)
    passwords = Argon2Passwords(hasher)
    code_hashes = Argon2Passwords(hasher or RECOVERY_CODES)
    try:
        yield Identity(
            repository=PostgresIdentity(database),
            session_rows=PostgresSessions(database),
            pending=PostgresPending(database),
            keys=PostgresApiKeys(database),
            passkey_rows=PostgresPasskeys(database),
            ceremonies=None if relying_party is None else WebauthnCeremonies(relying_party),
            totp_rows=PostgresTotp(database),
            recovery_rows=PostgresRecovery(database),
            credential_rows=PostgresCredentials(database),
            workspace_rows=PostgresWorkspaces(database),
            grant_rows=PostgresGrants(database),
            people_rows=PostgresPeople(database),
            invite_rows=PostgresInvites(database),
            attempts=PostgresAttempts(database),
            totp_codes=SealedTotpCodes(vault),
            mark=partial(vault.mark, "attempts"),
            passwords=passwords,
            code_hashes=code_hashes,
            access_tokens=access_tokens,
            refresh_tokens=SealedRefreshTokens(vault),
            api_key_codec=ApiKeys(),
            setup_tokens=SetupTokenFile(data_dir),
            clock=clock,
            registration=RegistrationPolicy(settings.registration),
            mfa_required=settings.require_mfa,
            origin=origin,
            connections=connections,
            policy=session_policy(settings),
        )
    finally:
        passwords.close()
        code_hashes.close()
