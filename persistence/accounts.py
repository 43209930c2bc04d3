"""How the columns of a user become an account: shared by whatever reads users, sessions or keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg import Record

from domain import ids
from domain.access import ID_KINDS, Access, Action, Effect, ResourceKind, Rule, UserRole, WorkspaceRole
from domain.identity import Account, Membership, User
from domain.identity.factors import FactorKind
from persistence.database import Connection

# A passkey that is out of service still counts: the password alone must not become enough because of it.
FACTORS: Final = """ARRAY(
    SELECT 'totp' FROM totp_factors t WHERE t.user_id = u.id AND t.enabled_at IS NOT NULL
     UNION ALL
    SELECT 'webauthn' WHERE EXISTS (SELECT 1 FROM passkeys p WHERE p.user_id = u.id)
    )"""
USER: Final = f"""u.id AS user_id, u.email, u.name AS user_name, u.role, u.created_at AS user_created_at,
    u.last_login_at, u.disabled_at, u.must_change_password, {FACTORS} AS factors"""
ACCOUNT: Final = f"""{USER}, u.default_workspace_id,
    (SELECT json_agg(json_build_array(r.slug, r.id, r.role) ORDER BY r.created_at, r.id) FROM (
        SELECT w.id, w.slug, w.created_at, m.role FROM memberships m JOIN workspaces w ON w.id = m.workspace_id
         WHERE m.user_id = u.id AND w.deleted_at IS NULL AND u.role <> 'admin'
         UNION ALL
        SELECT w.id, w.slug, w.created_at, 'owner' FROM workspaces w WHERE w.deleted_at IS NULL AND u.role = 'admin'
    ) r) AS rooms,
    (SELECT json_agg(json_build_array(g.workspace_id, g.kind, g.resource_id, g.actions, g.effect, g.expires_at)
                     ORDER BY g.id)
       FROM grants g WHERE g.user_id = u.id AND u.role <> 'admin') AS rules"""  # noqa: S608  # constants only
# The same of users ($1) in one workspace each ($2).
_STANDINGS: Final = """
    SELECT u.id AS user_id, w.id AS workspace_id, u.role, CASE u.role WHEN 'admin' THEN 'owner' ELSE m.role END AS room,
           (SELECT json_agg(json_build_array(g.kind, g.resource_id, g.actions, g.effect, g.expires_at) ORDER BY g.id)
              FROM grants g
             WHERE g.user_id = u.id AND g.workspace_id = w.id AND u.role <> 'admin') AS rules
      FROM unnest($1::uuid[], $2::uuid[]) p(user_id, workspace_id)
      JOIN users u ON u.id = p.user_id
      JOIN workspaces w ON w.id = p.workspace_id AND w.deleted_at IS NULL
      LEFT JOIN memberships m ON m.user_id = u.id AND m.workspace_id = w.id
     WHERE u.role = 'admin' OR m.role IS NOT NULL"""


def read_account(row: Record) -> Account:
    """From the columns of `ACCOUNT`."""
    rules: dict[str, list[Rule]] = {}
    for workspace, *rule in json.loads(row["rules"] or "[]"):
        rules.setdefault(workspace, []).append(_read_rule(*rule))
    return Account(
        user=read_user(row),
        disabled=row["disabled_at"] is not None,
        default_workspace_id=ids.from_uuid("wsp", row["default_workspace_id"]),
        memberships={
            slug: Membership(
                ids.from_uuid("wsp", UUID(workspace)),
                Access(WorkspaceRole(role), tuple(rules.get(workspace, ()))),
            )
            for slug, workspace, role in json.loads(row["rooms"] or "[]")
        },
        factors=frozenset(FactorKind(kind) for kind in row["factors"]),
    )


async def standings(
    connection: Connection, places: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[UserRole, Access]]:
    """By (user id, workspace id): the user's role on the instance, and what they may do in the workspace."""
    rows = await connection.fetch(
        _STANDINGS, [ids.to_uuid(user) for user, _ in places], [ids.to_uuid(workspace) for _, workspace in places]
    )
    return {
        (ids.from_uuid("usr", row["user_id"]), ids.from_uuid("wsp", row["workspace_id"])): (
            UserRole(row["role"]),
            Access(WorkspaceRole(row["room"]), tuple(_read_rule(*rule) for rule in json.loads(row["rules"] or "[]"))),
        )
        for row in rows
    }


def _read_rule(kind: str, resource: str | None, actions: list[str], effect: str, expires_at: str | None) -> Rule:
    about = ResourceKind(kind)
    return Rule(
        kind=about,
        actions=frozenset(Action(action) for action in actions),
        effect=Effect(effect),
        resource_id=None if resource is None else ids.from_uuid(ID_KINDS[about], UUID(resource)),
        expires_at=None if expires_at is None else datetime.fromisoformat(expires_at),
    )


async def insert_user(tx: Connection, user: User, password_hash: str, default_workspace: UUID) -> None:
    """Raises asyncpg's UniqueViolationError for a taken address."""
    await tx.execute(
        "INSERT INTO users (id, email, name, password_hash, role, default_workspace_id, created_at, last_login_at,"
        " must_change_password) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        ids.to_uuid(user.id),
        user.email,
        user.name,
        password_hash,
        user.role.value,
        default_workspace,
        user.created_at,
        user.last_login_at,
        user.must_change_password,
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
        disabled=row["disabled_at"] is not None,
        must_change_password=row["must_change_password"],
    )
