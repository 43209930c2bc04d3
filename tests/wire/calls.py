"""A valid call of every root field and every REST operation, each on something that it may change or destroy."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

from graphql import GraphQLObjectType, build_schema, get_named_type, is_leaf_type

from domain.access import Action, Effect, ResourceKind, Rule, WorkspaceRole
from domain.models import VersionDraft
from schema.build import CONTRACT
from server.rest.route import BYTES
from tests.support.models import linear
from tests.support.product import PASSWORD
from tests.support.registry import weights_file
from tests.support.workspaces import Workspaces

SCHEMA: Final = build_schema(CONTRACT.read_text())
ROOTS: Final[dict[str, GraphQLObjectType]] = {
    kind: root
    for kind, root in (
        ("Query", SCHEMA.query_type),
        ("Mutation", SCHEMA.mutation_type),
        ("Subscription", SCHEMA.subscription_type),
    )
    if root is not None
}
PENDING: Final = "axm_" + "0" * 43
CEREMONY: Final = "0" * 32
TEMPORARY: Final = "seven copper kettles on the roof"
NOBODY: Final = "psk_" + "0" * 32


@dataclass(frozen=True)
class Things:
    """What calls that only read share, and the caller whom a call is made for."""

    world: Workspaces
    run: str
    ended: str
    experiment: str
    model: str
    version: str
    endpoint: str
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    async def of(cls, world: Workspaces) -> Things:
        run, ended = await world.run(), await world.run(ended=True)
        model, version = await world.version()
        return cls(world, run, ended, await world.experiment(), model, version, await world.endpoint(version))

    async def api_key(self) -> str:
        """A key of the caller's own."""
        made = await self.world.product.http.post(
            "/api/auth/keys", json={"name": "k", "scopes": ["runs:read"]}, headers=self.headers
        )
        return str(made.json()["api_key"]["id"]) if made.status_code == 201 else "key_" + "0" * 32

    async def refresh_token(self) -> str:
        answer = await self.world.product.http.post(
            "/api/auth/login", json={"email": "ada@example.com", "password": PASSWORD}
        )
        return str(answer.json()["refresh_token"])


Given = dict[str, Any]
Make = Callable[[Things], Awaitable[Given]]


def fixed(**given: Any) -> Make:
    async def make(_: Things) -> Given:
        return given

    return make


def on(make: Callable[[Things], Given]) -> Make:
    """Arguments that name what is there."""

    async def made(things: Things) -> Given:
        return make(things)

    return made


def run(name: str = "id", *, more: Given | None = None, **state: bool) -> Make:
    """Arguments that name a new run."""

    async def make(things: Things) -> Given:
        return {name: await things.world.run(**state), **(more or {})}

    return make


def runs(*, more: Given | None = None, **state: bool) -> Make:
    async def make(things: Things) -> Given:
        return {"ids": [await things.world.run(**state)], **(more or {})}

    return make


async def experiment(things: Things) -> Given:
    return {"id": await things.world.experiment()}


async def model(things: Things) -> Given:
    return {"id": await things.world.model()}


async def version(things: Things) -> Given:
    return {"id": (await things.world.version())[1]}


async def aliased(things: Things) -> Given:
    model, version = await things.world.version()
    await things.world.product.services.aliases.set(things.world.scope, version, "champion")
    return {"modelId": model, "alias": "champion"}


async def endpoint(things: Things) -> Given:
    return {"id": await things.world.endpoint(things.version)}


async def refresh(things: Things) -> Given:
    return {"refreshToken": await things.refresh_token()}


async def own_key(things: Things) -> Given:
    return {"id": await things.api_key()}


async def own_session(things: Things) -> Given:
    scheme, _, credential = things.headers.get("Authorization", "").partition(" ")
    if not credential or credential.startswith("axk_"):
        return {"id": "ses_" + "0" * 32}
    scope = await things.world.product.services.identity.authenticate(authorization=f"{scheme} {credential}")
    return {"id": scope.principal.session_id}


def workspace(**more: Any) -> Make:
    """Arguments that name the workspace."""

    async def make(things: Things) -> Given:
        return {"id": things.world.scope.workspace_id, **more}

    return make


def member(**more: Any) -> Make:
    """Arguments that name a new member of the workspace, who is a viewer."""

    async def make(things: Things) -> Given:
        _, user = await things.world.member("viewer")
        return {"workspaceId": things.world.scope.workspace_id, "userId": user, **more}

    return make


async def new_grant(things: Things) -> Given:
    _, user = await things.world.member("viewer")
    return {"userId": user, "resource": things.run, "kind": "runs", "actions": ["write"]}


def grant(**more: Any) -> Make:
    """Arguments that name a new permission record."""

    async def make(things: Things) -> Given:
        _, user = await things.world.member("viewer")
        rule = Rule(ResourceKind.RUNS, frozenset({Action.WRITE}), Effect.ALLOW, things.run)
        return {"id": await things.world.rule(user, rule), **more}

    return make


async def new_permission(things: Things) -> Given:
    _, user = await things.world.member("viewer")
    return {"user_id": user, "resource": things.run, "actions": ["write"]}


async def new_person(things: Things) -> Given:
    return {"email": f"made-{next(things.world.numbers)}@example.com", "password": TEMPORARY}


def person(**more: Any) -> Make:
    """Arguments that name somebody new."""

    async def make(things: Things) -> Given:
        return {"id": (await things.world.member("viewer"))[1], **more}

    return make


async def new_invite(things: Things) -> Given:
    return {"email": f"asked-{next(things.world.numbers)}@example.com", "role": "VIEWER"}


async def invite(things: Things) -> Given:
    """Arguments that name a new invite to the workspace."""
    invites = things.world.product.services.identity.invites
    email = f"asked-{next(things.world.numbers)}@example.com"
    return {"id": (await invites.create(things.world.scope, email=email, role=WorkspaceRole.VIEWER)).invite.id}


async def new_workspace(things: Things) -> Given:
    return {"slug": f"made-{next(things.world.numbers)}", "name": "Made"}


def named(prefix: str, more: Callable[[Things], Given] = lambda _: {}) -> Make:
    """Arguments with a name that is free."""

    async def make(things: Things) -> Given:
        return {"name": f"{prefix}{next(things.world.numbers)}", **more(things)}

    return make


# Arguments by field; of mutations, what is in `input`.
GIVEN: Final[dict[str, Make]] = {
    "serverInfo": fixed(),
    "system": fixed(),
    "stats": fixed(),
    "auditEvents": fixed(),
    "viewer": fixed(),
    "workspaces": fixed(),
    "grants": fixed(),
    "invites": fixed(),
    "users": fixed(),
    "node": on(lambda things: {"id": things.run}),
    "nodes": on(lambda things: {"ids": [things.model]}),
    "experiments": fixed(),
    "experiment": on(lambda things: {"id": things.experiment}),
    "runs": fixed(),
    "run": on(lambda things: {"id": things.run}),
    "runsSeries": on(lambda things: {"runIds": [things.run], "keys": ["loss"]}),
    "models": fixed(),
    "model": on(lambda things: {"id": things.model}),
    "modelVersion": on(lambda things: {"id": things.version}),
    "modelVersionCompare": on(lambda things: {"left": things.version, "right": things.version}),
    "endpoints": fixed(),
    "endpoint": on(lambda things: {"id": things.endpoint}),
    "predict": on(lambda things: {"endpoint": things.endpoint, "inputs": [[1, 2, 3, 4]]}),
    "authSetup": fixed(token="x", email="eve@example.com", password=PASSWORD),
    "authLogin": fixed(email="ada@example.com", password=PASSWORD),
    "authRegister": fixed(email="eve@example.com", password=TEMPORARY),
    "authRefresh": refresh,
    "authLogout": fixed(),
    "authLogoutAll": fixed(),
    "passwordChange": fixed(current=PASSWORD, new=f"{PASSWORD} again"),
    "sessionRevoke": own_session,
    "mfaTotpSetup": fixed(),
    "mfaTotpEnable": fixed(code="000000"),
    "mfaTotpVerify": fixed(mfaToken=PENDING, code="000000"),
    "mfaTotpDisable": fixed(password=PASSWORD),
    "recoveryCodesGenerate": fixed(password=PASSWORD),
    "recoveryCodeUse": fixed(mfaToken=PENDING, code="0000-0000-0000-0000"),
    "webauthnRegisterStart": fixed(),
    "webauthnRegisterFinish": fixed(name="p", credential={}),
    "webauthnAuthenticateStart": fixed(),
    "webauthnAuthenticateFinish": fixed(credential={}),
    "webauthnCredentialDelete": fixed(id=NOBODY, password=PASSWORD),
    "apiKeyCreate": fixed(name="k", scopes=["runs:read"]),
    "apiKeyRevoke": own_key,
    "workspaceCreate": new_workspace,
    "workspaceUpdate": workspace(name="Default"),
    "workspaceDelete": workspace(),
    "memberAdd": member(role="VIEWER"),
    "memberUpdate": member(role="EDITOR"),
    "memberRemove": member(),
    "grantCreate": new_grant,
    "grantUpdate": grant(actions=["read"]),
    "grantDelete": grant(),
    "inviteCreate": new_invite,
    "inviteRevoke": invite,
    "inviteAccept": fixed(token="axi_none"),
    "userCreate": new_person,
    "userUpdate": person(name="N."),
    "userDisable": person(),
    "userFactorsReset": person(),
    "userDelete": person(),
    "experimentCreate": named("made"),
    "experimentUpdate": on(lambda things: {"id": things.experiment, "description": "x"}),
    "experimentDelete": experiment,
    "experimentRestore": experiment,
    "runCreate": fixed(),
    "runUpdate": on(lambda things: {"id": things.run, "notes": "x"}),
    "runStart": run(start=False),
    "runFinish": run(),
    "runStop": run(),
    "runResume": run(ended=True),
    "runDelete": run(),
    "runRestore": run(archived=True),
    "runPurge": run(archived=True),
    "runsUpdate": runs(more={"tagsSet": [{"key": "a", "value": "b"}]}),
    "runsDelete": runs(),
    "runsRestore": runs(archived=True),
    "runsPurge": runs(archived=True),
    "metricsLog": on(lambda things: {"runId": things.run, "points": [{"key": "loss", "value": 1}]}),
    "paramsLog": on(lambda things: {"runId": things.run, "params": [{"key": "a", "value": 1}]}),
    "tagsSet": on(lambda things: {"runId": things.run, "tags": [{"key": "a", "value": "b"}]}),
    "tagsDelete": on(lambda things: {"runId": things.run, "keys": ["a"]}),
    "logsAppend": on(lambda things: {"runId": things.run, "lines": [{"message": "x"}]}),
    "modelCreate": named("made"),
    "modelUpdate": on(lambda things: {"id": things.model, "description": "x"}),
    "modelDelete": model,
    "modelVersionCreate": on(lambda things: {"modelId": things.model, "sha256": "0" * 64, "sizeBytes": 1}),
    "modelVersionUpdate": on(lambda things: {"id": things.version, "description": "x"}),
    "modelVersionDelete": version,
    "modelAliasSet": on(lambda things: {"versionId": things.version, "alias": "champion"}),
    "modelAliasDelete": aliased,
    "modelVersionDeploy": on(lambda things: {"versionId": things.version, "endpoint": "deployed"}),
    "endpointCreate": named("made", lambda things: {"versionId": things.version}),
    "endpointUpdate": on(lambda things: {"id": things.endpoint, "replicas": 1}),
    "endpointDelete": endpoint,
    "endpointStart": on(lambda things: {"id": things.endpoint}),
    "endpointStop": on(lambda things: {"id": things.endpoint}),
    "runMetrics": on(lambda things: {"runId": things.ended}),
    "runUpdated": on(lambda things: {"runId": things.run}),
    "runsUpdated": on(lambda things: {"experimentId": things.experiment}),
    "runLogs": on(lambda things: {"runId": things.ended}),
    "systemMetrics": fixed(intervalSeconds=0.5),
}


def document(operation: str, given: Given) -> tuple[str, Given]:
    """The GraphQL text of an operation, and its variables."""
    kind, _, name = operation.partition(".")
    described = ROOTS[kind].fields[name]
    if set(described.args) == {"input"}:
        given = {"input": given}
    declared = ", ".join(f"${argument}: {described.args[argument].type}" for argument in given)
    passed = ", ".join(f"{argument}: ${argument}" for argument in given)
    selection = "" if is_leaf_type(get_named_type(described.type)) else " { __typename }"
    head = kind.lower() + (f" ({declared})" if declared else "")
    return f"{head} {{ {name}{f'({passed})' if passed else ''}{selection} }}", given


# --- REST ------------------------------------------------------------------------------------------------


def body(make: Make, **options: Any) -> Make:
    """A request with these arguments as its body."""

    async def made(things: Things) -> Given:
        return {"json": await make(things), **options}

    return made


def to(make: Make, json: Any = None, **options: Any) -> Make:
    """A request whose path names what these arguments name."""

    async def made(things: Things) -> Given:
        return {"path": await make(things), **({} if json is None else {"json": json}), **options}

    return made


RUN: Final = on(lambda things: {"id": things.run})
ENDED: Final = on(lambda things: {"id": things.ended})
MODEL: Final = on(lambda things: {"id": things.model})
VERSION: Final = on(lambda things: {"id": things.model, "v": "1"})
ENDPOINT: Final = on(lambda things: {"id": things.endpoint})


async def numbered(things: Things) -> Given:
    return {"id": (await things.world.version())[0], "v": "1"}


async def arriving(things: Things) -> Given:
    """The place of a version whose bytes are awaited."""
    model = await things.world.model()
    data = weights_file()
    draft = VersionDraft(sha256=hashlib.sha256(data).hexdigest())
    made = await things.world.product.services.uploads.reserve(things.world.scope, model, draft, size_bytes=len(data))
    return {"id": model, "v": str(made.version)}


async def beside(things: Things) -> Given:
    """The place of a file beside the weights, which is there."""
    place, services = await numbered(things), things.world.product.services
    version = await services.models.get_version(things.world.scope, place["id"], "1")
    async with await services.models.receive(things.world.scope, place["id"], announced=None) as incoming:
        await incoming.write(b"cat")
        await services.model_files.add(things.world.scope, version, "labels.txt", await incoming.finish())
    return {**place, "name": "labels.txt"}


async def free(things: Things) -> Given:
    return {**await numbered(things), "name": "labels.txt"}


async def alias_of(things: Things) -> Given:
    made = await aliased(things)
    return {"id": made["modelId"], "alias": made["alias"]}


async def refreshing(things: Things) -> Given:
    return {"refresh_token": await things.refresh_token()}


# What httpx is told: `path` fills the places of the path in, the rest is passed on.
REQUESTS: Final[dict[str, Make]] = {
    **dict.fromkeys(
        (
            "GET /health",
            "GET /health/ready",
            "GET /metrics",
            "GET /api/metrics",
            "GET /api/admin/stats",
            "GET /api/admin/audit",
            "GET /api/openapi.json",
            "GET /api/schemas/arch-1.json",
            "POST /api/auth/logout",
            "GET /api/auth/me",
            "GET /api/auth/keys",
            "GET /api/auth/export",
            "GET /api/admin/users",
            "GET /api/auth/mfa/totp/setup",
            "POST /api/auth/mfa/totp/setup",
            "GET /api/auth/mfa/recovery",
            "GET /api/auth/mfa/recovery/generate",
            "POST /api/auth/mfa/webauthn/register/start",
            "GET /v1/permissions",
            "GET /api/experiments",
            "GET /api/training/runs",
            "GET /api/models",
            "GET /api/inference/endpoints",
        ),
        fixed(),
    ),
    "POST /api/auth/setup": body(fixed(token="x", email="eve@example.com", password=PASSWORD)),
    "POST /api/auth/login": body(fixed(email="ada@example.com", password=PASSWORD)),
    "POST /api/auth/register": body(fixed(email="eve@example.com", password=TEMPORARY)),
    "POST /api/admin/users": body(new_person),
    "PUT /api/admin/users/{id}": to(person(), {"name": "N."}),
    "DELETE /api/admin/users/{id}": to(person()),
    "DELETE /api/admin/users/{id}/factors": to(person()),
    "POST /api/auth/refresh": body(refreshing),
    "POST /api/auth/keys": body(fixed(name="k", scopes=["runs:read"])),
    "DELETE /api/auth/keys/{id}": to(own_key),
    "POST /api/auth/mfa/totp/enable": body(fixed(code="000000")),
    "POST /api/auth/mfa/totp/verify": body(fixed(mfa_token=PENDING, code="000000")),
    "POST /api/auth/mfa/recovery": body(fixed(mfa_token=PENDING, code="0000-0000-0000-0000")),
    "POST /api/auth/mfa/recovery/generate": body(fixed(password=PASSWORD)),
    "POST /api/auth/mfa/webauthn/register/finish": body(fixed(ceremony_id=CEREMONY, name="p", credential={})),
    "POST /api/auth/mfa/webauthn/authenticate/start": body(fixed()),
    "POST /api/auth/mfa/webauthn/authenticate/finish": body(fixed(ceremony_id=CEREMONY, credential={})),
    "DELETE /api/auth/mfa/webauthn/{id}": to(fixed(id=NOBODY), {"password": PASSWORD}),
    "POST /v1/permissions": body(new_permission),
    "GET /v1/permissions/{id}": to(grant()),
    "PUT /v1/permissions/{id}": to(grant(), {"actions": ["read"]}),
    "DELETE /v1/permissions/{id}": to(grant()),
    "POST /api/experiments": body(named("made")),
    "GET /api/experiments/{id}": to(on(lambda things: {"id": things.experiment})),
    "POST /api/training/runs": body(fixed(name="x")),
    "GET /api/training/runs/{id}": to(RUN),
    "PATCH /api/training/runs/{id}": to(RUN, {"notes": "x"}),
    "DELETE /api/training/runs/{id}": to(run()),
    "POST /api/training/runs/{id}/start": to(run(start=False)),
    "POST /api/training/runs/{id}/finish": to(run(), {"status": "completed"}),
    "POST /api/training/runs/{id}/stop": to(run()),
    "POST /api/training/runs/{id}/resume": to(run(ended=True)),
    "POST /api/training/runs/{id}/restore": to(run(archived=True)),
    "POST /api/training/runs/{id}/purge": to(run(archived=True)),
    "POST /api/training/runs/{id}/params": to(RUN, {"a": 1}),
    "POST /api/training/runs/{id}/tags": to(RUN, {"a": "b"}),
    "POST /api/training/runs/{id}/metrics": to(RUN, {"loss": 1}),
    "GET /api/training/runs/{id}/metrics": to(RUN),
    "POST /api/training/runs/{id}/log": to(RUN, {"message": "x"}),
    "POST /api/training/runs/{id}/logs": to(RUN, {"message": "x"}),
    "GET /api/training/runs/{id}/logs": to(RUN),
    "GET /api/training/runs/{id}/stream": to(ENDED),
    "GET /api/training/runs/{id}/versions": to(RUN),
    "POST /api/models": body(named("made")),
    "GET /api/models/{id}": to(MODEL),
    "PUT /api/models/{id}": to(MODEL, {"description": "x"}),
    "DELETE /api/models/{id}": to(model),
    "POST /api/models/{id}/tags": to(MODEL, {"a": "b"}),
    "GET /api/models/{id}/versions": to(MODEL),
    "POST /api/models/{id}/versions": to(MODEL, files={"file": ("w.safetensors", weights_file())}),
    "GET /api/models/{id}/versions/{v}": to(VERSION),
    "PUT /api/models/{id}/versions/{v}": to(VERSION, {"description": "x"}),
    "POST /api/models/{id}/versions/{v}/tags": to(VERSION, {"a": "b"}),
    "DELETE /api/models/{id}/versions/{v}": to(numbered),
    "PUT /api/models/{id}/versions/{v}/architecture": to(VERSION, linear()),
    "GET /api/models/{id}/versions/{v}/download": to(VERSION),
    "GET /api/models/{id}/versions/{v}/compare": to(VERSION, params={"to": "latest"}),
    "PUT /api/models/{id}/versions/{v}/stage": to(VERSION, {"stage": "staging"}),
    "GET /api/models/{id}/versions/{v}/endpoints": to(VERSION),
    "GET /api/models/{id}/aliases": to(MODEL),
    "PUT /api/models/{id}/aliases/{alias}": to(
        on(lambda things: {"id": things.model, "alias": "champion"}), {"version": 1}
    ),
    "DELETE /api/models/{id}/aliases/{alias}": to(alias_of),
    "POST /api/models/{id}/uploads": to(MODEL, {"sha256": "0" * 64, "size_bytes": 1}),
    "GET /api/models/{id}/versions/{v}/content": to(VERSION),
    "PUT /api/models/{id}/versions/{v}/content": to(
        arriving, content=weights_file(), headers={"Content-Type": BYTES, "Upload-Offset": "0"}
    ),
    "GET /api/models/{id}/versions/{v}/files": to(VERSION),
    "GET /api/models/{id}/versions/{v}/files/{name}": to(beside),
    "PUT /api/models/{id}/versions/{v}/files/{name}": to(free, content=b"cat", headers={"Content-Type": BYTES}),
    "POST /api/models/{id}/versions/{v}/deploy": to(VERSION, {"endpoint": "deployed"}),
    "POST /api/inference/endpoints": body(named("made", lambda things: {"model_version_id": things.version})),
    "GET /api/inference/endpoints/{id}": to(ENDPOINT),
    "PUT /api/inference/endpoints/{id}": to(ENDPOINT, {"replicas": 1}),
    "DELETE /api/inference/endpoints/{id}": to(endpoint),
    "POST /api/inference/endpoints/{id}/start": to(ENDPOINT),
    "POST /api/inference/endpoints/{id}/stop": to(ENDPOINT),
    "POST /api/inference/predict/{name}": to(on(lambda things: {"name": things.endpoint}), {"inputs": [[1, 2, 3, 4]]}),
}


def is_missing(data: Any) -> bool:
    """Whether the data of a GraphQL answer holds nothing: null, or a list of nulls."""
    return all(value is None or value in ([], [None]) for value in data.values())
