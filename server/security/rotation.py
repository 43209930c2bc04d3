"""Other keys and another root secret, while everything that was sealed stays readable.

A new root secret is on disk before the database is sealed under it, and takes the old one's place afterwards. Which of
the two counts is for the database to say, whose fingerprint changes with what is sealed: so a crash in between is
settled by whoever looks next.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from domain import audit
from domain.unique import unique
from persistence.audit import PostgresAudit
from persistence.database import Database
from persistence.secret_rows import PostgresSecrets, Resealing
from persistence.signing_keys import PostgresSigningKeys
from server.security import refresh, tokens, totp
from server.security.secrets import FILE_NAME, RootSecretError, Vault, open_vault, read_secret, write_secret

NEXT: Final = "secret.next"
PATIENCE: Final = 5.0
"""For so many seconds connections of servers that have just been stopped are waited for."""


async def rotate_signing_key(database: Database, vault: Vault) -> str:
    """Makes a new key the one that signs; its id. Raises RootSecretError."""
    store = PostgresSigningKeys(database)
    if await store.claim_root(vault.fingerprint()) != vault.fingerprint():
        raise RootSecretError(tokens.OTHER_ROOT)
    now = datetime.now(UTC)
    key = tokens.new_signing_key(vault, now)
    async with audit.during(PostgresAudit(database), audit.Event("keysRotate", f"command-{unique()}")):
        await store.rotate(key, forget=now - tokens.RETIRED_ACCEPTED)
    return key.kid


async def rotate_root_secret(database: Database, data_dir: Path) -> Path:
    """Seals everything under a new secret, which becomes `<data>/secret`; that path. Raises RootSecretError."""
    await settle(database, data_dir)
    current, following = data_dir / FILE_NAME, data_dir / NEXT
    old = open_vault(None, data_dir)
    write_secret(following, secrets.token_urlsafe(48))
    await _reseal(database, old, Vault(read_secret(following)))
    _replace(following, current)
    return current


async def rotate_root_setting(database: Database, old: str, new: str) -> None:
    """Seals everything under a new secret that settings will hold. Raises RootSecretError."""
    if old == new:
        raise RootSecretError("the new root secret is the present one")
    await _reseal(database, Vault(old.encode()), Vault(new.encode()))


async def settle(database: Database, data_dir: Path) -> None:
    """Finishes or undoes what a rotation that was cut off left behind. Raises RootSecretError."""
    following = data_dir / NEXT
    if not following.exists():
        return
    stored = await PostgresSecrets(database).fingerprint()
    if Vault(read_secret(following)).fingerprint() == stored:
        _replace(following, data_dir / FILE_NAME)
    else:
        following.unlink()


async def _reseal(database: Database, old: Vault, new: Vault) -> None:
    def again(purpose: str) -> Callable[[bytes, str], bytes]:
        return lambda sealed, place: new.seal(purpose, old.open(purpose, sealed, place), place)

    resealing = Resealing(
        signing_key=again(tokens.PURPOSE),
        refresh_key=again(refresh.PURPOSE),
        totp_secret=lambda sealed, user: again(totp.PURPOSE)(sealed, totp.place_of(user)),
    )
    rows = PostgresSecrets(database)
    if await rows.fingerprint() != old.fingerprint():
        raise RootSecretError(tokens.OTHER_ROOT)
    async with audit.during(PostgresAudit(database), audit.Event("secretsRotate", f"command-{unique()}")):
        await rows.reseal(old.fingerprint(), new.fingerprint(), resealing, PATIENCE)


def _replace(following: Path, current: Path) -> None:
    following.replace(current)
    directory = os.open(current.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
