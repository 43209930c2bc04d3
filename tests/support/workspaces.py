"""A running product with members of every role, somebody of another workspace, and keys of every scope."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count

from domain import ids
from domain.access import KeyScope, Rule, Scope
from domain.models import VersionDraft
from domain.runs import RunStatus
from persistence.database import Database
from server.settings import InferenceSettings, RatesSettings, Settings
from tests.support.models import linear
from tests.support.product import PASSWORD, Product, running
from tests.support.registry import weights_file

ROLES = ("owner", "editor", "viewer")
# As many requests as it takes, and no process for an endpoint: starting one is a conflict for those who may.
SETTINGS = Settings(
    rates=RatesSettings(sign_in="off", refresh="off", refused="off", requests="off", visitors="off"),
    inference=InferenceSettings(max_endpoints=0),
)


@dataclass
class Workspaces:
    """The product, and the headers of everybody who calls it."""

    product: Product
    database: Database
    scope: Scope
    """Of the administrator, for making things in the workspace `default`."""
    callers: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: dict[str, dict[str, str]] = field(default_factory=dict)
    numbers: count[int] = field(default_factory=count)

    async def member(self, role: str, slug: str = "default") -> tuple[str, str]:
        """Somebody new with this role: the address and the user's id."""
        email, user = f"{role}-{next(self.numbers)}@example.com", ids.new("usr")
        await self.database.execute(
            "INSERT INTO users (id, email, name, password_hash, role, default_workspace_id, created_at)"
            " SELECT $1, $2, $2, u.password_hash, $4, w.id, now() FROM users u, workspaces w"
            " WHERE u.email = 'ada@example.com' AND w.slug = $3",
            ids.to_uuid(user),
            email,
            slug,
            "admin" if role == "admin" else "user",
        )
        if role != "admin":
            await self.database.execute(
                "INSERT INTO memberships (workspace_id, user_id, role)"
                " SELECT id, $2, $3 FROM workspaces WHERE slug = $1",
                slug,
                ids.to_uuid(user),
                role,
            )
        return email, user

    async def signed_in(self, email: str) -> dict[str, str]:
        """The headers of a new session."""
        answer = await self.product.http.post("/api/auth/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['token']}"}

    async def somebody(self, caller: str) -> dict[str, str]:
        """Somebody new like this caller, signed in."""
        if caller == "outsider":
            return await self.signed_in((await self.member("owner", "other"))[0])
        return await self.signed_in((await self.member(caller))[0])

    async def rule(self, user: str, rule: Rule) -> str:
        """The id of a new rule about a member, as it is stored."""
        grant = ids.new("grt")
        await self.database.execute(
            "INSERT INTO grants (id, workspace_id, user_id, kind, resource_id, actions, effect, created_at)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7, now())",
            ids.to_uuid(grant),
            ids.to_uuid(self.scope.workspace_id),
            ids.to_uuid(user),
            rule.kind.value,
            None if rule.resource_id is None else ids.to_uuid(rule.resource_id),
            json.dumps([action.value for action in rule.actions]),
            rule.effect.value,
        )
        return grant

    # --- things ----------------------------------------------------------------------------------------

    async def run(self, *, ended: bool = False, archived: bool = False, start: bool = True) -> str:
        """The id of a new run."""
        runs = self.product.services.runs
        made = await runs.create(self.scope, experiment="e", start=start)
        if ended:
            await runs.finish(self.scope, made.id, RunStatus.COMPLETED)
        if archived:
            await runs.delete(self.scope, made.id)
        return made.id

    async def experiment(self) -> str:
        """The id of a new experiment."""
        name = f"e{next(self.numbers)}"
        return (await self.product.services.experiments.create(self.scope, name=name)).id

    async def model(self) -> str:
        """The id of a new model."""
        return (await self.product.services.models.create(self.scope, name=f"m{next(self.numbers)}")).id

    async def version(self, model: str | None = None) -> tuple[str, str]:
        """The ids of a model, new unless it is given, and of a new version that could be served."""
        model = await self.model() if model is None else model
        models = self.product.services.models
        async with await models.receive(self.scope, model, announced=None) as incoming:
            await incoming.write(weights_file())
            draft = VersionDraft(file_name="w.safetensors", architecture=json.dumps(linear()))
            made = await models.add_version(self.scope, model, await incoming.finish(), draft)
        return model, made.id

    async def endpoint(self, version: str) -> str:
        """The id of a new endpoint, which is stopped."""
        name = f"e{next(self.numbers)}"
        return (await self.product.services.endpoints.create(self.scope, name=name, version_id=version)).id


@asynccontextmanager
async def peopled(url: str) -> AsyncIterator[Workspaces]:
    """A product with an administrator, somebody of each role, an outsider, and the administrator's keys."""
    async with running(url, settings=SETTINGS) as product:
        database = _database_of(product)
        world = Workspaces(product, database, await product.scope())
        await database.execute(
            "INSERT INTO workspaces (id, slug, name, created_at) VALUES ($1, 'other', 'Other', $2)",
            ids.to_uuid(ids.new("wsp")),
            datetime.now(UTC),
        )
        for caller in ("admin", *ROLES, "outsider"):
            world.callers[caller] = await world.somebody(caller)
        world.callers["anonymous"] = {}
        for scope in KeyScope:
            made = await product.rest("POST", "/api/auth/keys", json={"name": scope.value, "scopes": [scope.value]})
            assert made.status_code == 201, made.text
            world.keys[scope.value] = {"Authorization": f"Bearer {made.json()['secret']}"}
        yield world


def _database_of(product: Product) -> Database:
    found = product.services.runs._runs._database  # type: ignore[attr-defined]  # the pool of the product itself
    assert isinstance(found, Database)
    return found
