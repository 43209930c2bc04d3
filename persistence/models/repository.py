"""Models in PostgreSQL, and the repository of the registry put together."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Final

import asyncpg

from domain import ids
from domain.access import ResourceKind, Scope
from domain.errors import Conflict, NotFound
from domain.idempotency import ClientToken
from domain.models import Model, ModelChanges
from domain.paging import Keyset, Page, PageRequest
from domain.search import Expression
from persistence import search
from persistence.audit import change
from persistence.idempotency import claim
from persistence.models import files
from persistence.models.changes import assignments, check_tags
from persistence.models.files import workspace_of
from persistence.models.rows import MODEL, model_key, read_model, tags_json
from persistence.models.versions import PostgresVersions
from persistence.pages import FIRST_ARGUMENT, Listing, pages
from persistence.reach import reached, within

_NEWEST_MODEL: Final = (("m.created_at", "timestamptz"), ("m.id", "uuid"))
_SEARCH: Final = search.Columns(
    attributes={
        "name": "m.name",
        "description": "m.description",
        "model_type": "m.model_type",
        "created": "m.created_at",
        "updated": "m.updated_at",
        "owner": "(SELECT u.email FROM users u WHERE u.id = m.owner_id)",
    },
    ids={"owner": "m.owner_id"},
    keyed={
        "tags": search.KeyedColumns("jsonb_each_text(m.tags)", "TRUE", text="value"),
        "aliases": search.KeyedColumns(
            "(SELECT a.model_id, a.name AS key, v.version::float8 AS number"
            " FROM model_aliases a JOIN model_versions v ON v.id = a.version_id)",
            "x.model_id = m.id",
            number="number",
        ),
    },
)


class PostgresModels(PostgresVersions):
    """Implements `domain.models.ModelRepository`."""

    async def create(self, scope: Scope, model: Model, token: ClientToken | None) -> Model:
        try:
            async with change(self._database) as tx:
                first = await claim(tx, scope, token, ids.to_uuid(model.id))
                if first is None:
                    await tx.execute(
                        "INSERT INTO models (id, workspace_id, owner_id, name, description, model_type, tags,"
                        " next_version, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $8)",
                        ids.to_uuid(model.id),
                        workspace_of(scope),
                        ids.to_uuid(model.owner_id),
                        model.name,
                        model.description,
                        model.model_type,
                        tags_json(model.tags),
                        model.created_at,
                    )
                    tx.made(model.id)
        except asyncpg.UniqueViolationError as error:
            raise _name_taken(model.name) from error
        if first is None:
            return model
        return await self._present(scope, ids.from_uuid("mdl", first))

    async def update(self, scope: Scope, model_id: str, changes: ModelChanges, now: datetime) -> Model:
        places, arguments = assignments(changes, first=4)
        try:
            async with change(self._database) as tx:
                row = await tx.fetchrow(
                    f"UPDATE models m SET {', '.join([*places, 'updated_at = GREATEST(updated_at, $3)'])}"  # noqa: S608 - keys of ModelChanges
                    f" WHERE m.workspace_id = $1 AND m.id = $2 RETURNING {MODEL}",
                    workspace_of(scope),
                    ids.to_uuid(model_id),
                    now,
                    *arguments,
                )
                if row is not None:
                    check_tags(len(json.loads(row["tags"])))
                    tx.made(model_id)
        except asyncpg.UniqueViolationError as error:
            raise _name_taken(str(changes.get("name"))) from error
        if row is None:
            raise NotFound("there is no such model", field="id")
        return read_model(row)

    async def delete(self, scope: Scope, model_id: str) -> list[str]:
        async with change(self._database) as tx:
            locked = await tx.fetchrow(
                "SELECT id FROM models WHERE workspace_id = $1 AND id = $2 FOR UPDATE",
                workspace_of(scope),
                ids.to_uuid(model_id),
            )
            if locked is None:
                raise NotFound("there is no such model", field="id")
            versions = await tx.fetch(
                "SELECT id FROM model_versions WHERE model_id = $1 ORDER BY id FOR UPDATE", locked["id"]
            )
            await files.refuse_in_use(tx, scope, [row["id"] for row in versions])
            digests = await files.digests_of(tx, [row["id"] for row in versions])
            await tx.execute("DELETE FROM models WHERE id = $1", locked["id"])
            await files.drop_references(tx, scope, digests)
            tx.made(model_id)
            return digests

    async def by_ids(self, scope: Scope, model_ids: Sequence[str]) -> dict[str, Model]:
        rows = await self._database.fetch(
            f"SELECT {MODEL} FROM models m WHERE m.workspace_id = $1 AND m.id = ANY($2::uuid[])",  # noqa: S608
            workspace_of(scope),
            [ids.to_uuid(model_id) for model_id in reached(scope.reach(ResourceKind.MODELS), model_ids)],
        )
        return {model.id: model for model in map(read_model, rows)}

    async def by_name(self, scope: Scope, name: str) -> Model | None:
        row = await self._database.fetchrow(
            f"SELECT {MODEL} FROM models m WHERE m.workspace_id = $1 AND m.name = $2",  # noqa: S608
            workspace_of(scope),
            name,
        )
        found = None if row is None else read_model(row)
        return found if found is not None and found.id in scope.reach(ResourceKind.MODELS) else None

    async def page(
        self, scope: Scope, where: Expression | None, text: str, page: PageRequest, offset: int = 0
    ) -> Page[Model]:
        condition, arguments = search.compile(where, _SEARCH, FIRST_ARGUMENT)
        readable, more = within(scope.reach(ResourceKind.MODELS), "m.id", FIRST_ARGUMENT + len(arguments))
        listing = Listing(
            columns=MODEL,
            source="models m",
            where=f"m.workspace_id = p.id AND {condition}{readable}",
            order=_NEWEST_MODEL,
            keyset=Keyset(("models", text), (datetime, str)),
            item=read_model,
            key=model_key,
            arguments=(*arguments, *more),
        )
        workspace = workspace_of(scope)
        return (await pages(self._database, listing, [workspace], page, offset))[workspace]

    async def of_owners(self, scope: Scope, owner_ids: Sequence[str], page: PageRequest) -> dict[str, Page[Model]]:
        readable, more = within(scope.reach(ResourceKind.MODELS), "m.id", FIRST_ARGUMENT + 1)
        listing = Listing(
            columns=MODEL,
            source="models m",
            where=f"m.owner_id = p.id AND m.workspace_id = ${FIRST_ARGUMENT}{readable}",
            order=_NEWEST_MODEL,
            keyset=Keyset(("models of owner",), (datetime, str)),
            item=read_model,
            key=model_key,
            arguments=(workspace_of(scope), *more),
        )
        found = await pages(self._database, listing, [ids.to_uuid(owner) for owner in owner_ids], page)
        return {owner: found[ids.to_uuid(owner)] for owner in owner_ids}

    async def used(self, scope: Scope) -> int:
        return await files.used(self._database, scope)

    async def unreferenced(self, digests: Sequence[str]) -> list[str]:
        return await files.unreferenced(self._database, digests)

    async def collect(self, sha256: str, remove: Callable[[], Awaitable[None]]) -> bool:
        return await files.collect(self._database, sha256, remove)

    async def _present(self, scope: Scope, model_id: str) -> Model:
        found = (await self.by_ids(scope, [model_id])).get(model_id)
        if found is None:
            raise NotFound("what this client token made is gone", field="client_token")
        return found


def _name_taken(name: str) -> Conflict:
    return Conflict(f"a model called {name!r} exists already", field="name")
