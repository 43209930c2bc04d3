"""How the columns of a user become an account: shared by whatever reads users, sessions or keys."""

from __future__ import annotations

import json
from typing import Final
from uuid import UUID

from asyncpg import Record

from domain import ids
from domain.access import UserRole
from domain.identity import Account, User
from domain.identity.factors import FactorKind

FACTORS: Final = """ARRAY(
    SELECT 'totp' FROM totp_factors t WHERE t.user_id = u.id AND t.enabled_at IS NOT NULL
     UNION ALL
    SELECT 'webauthn' WHERE EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = u.id AND p.flagged_at IS NULL)
    )"""
USER: Final = f"""u.id AS user_id, u.email, u.name AS user_name, u.role, u.created_at AS user_created_at,
    u.last_login_at, {FACTORS} AS factors"""
ACCOUNT: Final = f"""{USER}, u.disabled_at, u.default_workspace_id,
    (SELECT json_object_agg(w.slug, w.id ORDER BY w.created_at, w.id)
       FROM memberships m JOIN workspaces w ON w.id = m.workspace_id WHERE m.user_id = u.id) AS workspaces"""  # noqa: S608  # constants only


def read_account(row: Record) -> Account:
    """From the columns of `ACCOUNT`."""
    workspaces: dict[str, str] = json.loads(row["workspaces"] or "{}")
    return Account(
        user=read_user(row),
        disabled=row["disabled_at"] is not None,
        default_workspace_id=ids.from_uuid("wsp", row["default_workspace_id"]),
        workspaces={slug: ids.from_uuid("wsp", UUID(text)) for slug, text in workspaces.items()},
        factors=frozenset(FactorKind(kind) for kind in row["factors"]),
    )


def read_user(row: Record) -> User:
    """From the columns of `USER`."""
    return User(
        id=ids.from_uuid("usr", row["user_id"]),
        email=row["email"],
        name=row["user_name"],
        role=UserRole(row["role"]),
        created_at=row["user_created_at"],
        last_login_at=row["last_login_at"],
        mfa_enabled=bool(row["factors"]),
    )
