"""Who may do what: every root field of the graph and every REST operation, written out.

This is a literal table on purpose: serving something new, or opening something to somebody else, is a visible change
to this file. `test_permissions` walks it, and refuses what is served without a row here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Row:
    """Who may: the roles by name, and the scopes of API keys of which one is enough.

    `admin` is an administrator of the instance without a membership, `outsider` an owner of another workspace only;
    what is `of_object` does not exist for outsiders. `answer` is the code with which the test's own calls are answered
    where they are allowed but cannot succeed.
    """

    roles: frozenset[str]
    scopes: frozenset[str]
    of_object: bool = False
    answer: str | None = None
    own: bool = False
    """It changes the caller: every call is made by somebody new."""


RUNS_R: Final = "runs:read runs:write"
RUNS_W: Final = "runs:write"
MODELS_R: Final = "models:read models:write"
MODELS_W: Final = "models:write"
ENDS_R: Final = "endpoints:read endpoints:write"
ENDS_W: Final = "endpoints:write"
PREDICT: Final = "endpoints:predict"
STATS: Final = "stats:read"
READING: Final = f"{RUNS_R} {MODELS_R} {ENDS_R} {STATS}"
ANY_KEY: Final = f"{READING} {PREDICT}"
NO_KEY: Final = ""

OWNERS: Final = "admin owner"
VIEWERS: Final = "admin owner editor viewer"
EDITORS: Final = "admin owner editor"
SIGNED_IN: Final = f"{VIEWERS} outsider"
EVERYBODY: Final = f"{SIGNED_IN} anonymous"


def of(roles: str, scopes: str, answer: str | None = None) -> Row:
    """About one object of the workspace."""
    return Row(frozenset(roles.split()), frozenset(scopes.split()), of_object=True, answer=answer)


def at(roles: str, scopes: str, answer: str | None = None) -> Row:
    """About the workspace the caller is in: outsiders are owners of theirs."""
    return Row(frozenset(f"{roles} outsider".split()), frozenset(scopes.split()), answer=answer)


def only(roles: str, scopes: str, answer: str | None = None, *, own: bool = False) -> Row:
    """About the caller or the instance."""
    return Row(frozenset(roles.split()), frozenset(scopes.split()), answer=answer, own=own)


GRAPH: Final[dict[str, Row]] = {
    "Query.serverInfo": only(EVERYBODY, ANY_KEY),
    "Query.system": only(SIGNED_IN, READING),
    "Query.stats": only("admin", STATS),
    "Query.auditEvents": only("admin", NO_KEY),
    "Query.viewer": only(SIGNED_IN, ANY_KEY),
    "Query.workspaces": only(SIGNED_IN, ANY_KEY),
    "Query.grants": at(OWNERS, NO_KEY),
    "Query.invites": at(OWNERS, NO_KEY),
    "Query.users": only("admin", NO_KEY),
    "Query.node": of(VIEWERS, RUNS_R),
    "Query.nodes": of(VIEWERS, MODELS_R),
    "Query.experiments": at(VIEWERS, RUNS_R),
    "Query.experiment": of(VIEWERS, RUNS_R),
    "Query.runs": at(VIEWERS, RUNS_R),
    "Query.run": of(VIEWERS, RUNS_R),
    "Query.runsSeries": of(VIEWERS, RUNS_R),
    "Query.models": at(VIEWERS, MODELS_R),
    "Query.model": of(VIEWERS, MODELS_R),
    "Query.modelVersion": of(VIEWERS, MODELS_R),
    "Query.modelVersionCompare": of(VIEWERS, MODELS_R),
    "Query.endpoints": at(VIEWERS, ENDS_R),
    "Query.endpoint": of(VIEWERS, ENDS_R),
    "Query.predict": of(EDITORS, PREDICT, "UNAVAILABLE"),
    "Mutation.authSetup": only(EVERYBODY, ANY_KEY, "CONFLICT"),
    "Mutation.authLogin": only(EVERYBODY, ANY_KEY),
    "Mutation.authRegister": only(EVERYBODY, ANY_KEY, "FORBIDDEN"),
    "Mutation.authRefresh": only(EVERYBODY, ANY_KEY),
    "Mutation.authLogout": only(SIGNED_IN, NO_KEY, own=True),
    "Mutation.authLogoutAll": only(SIGNED_IN, NO_KEY, own=True),
    "Mutation.passwordChange": only(SIGNED_IN, NO_KEY, own=True),
    "Mutation.sessionRevoke": only(SIGNED_IN, NO_KEY, own=True),
    "Mutation.mfaTotpSetup": only(SIGNED_IN, NO_KEY, own=True),
    "Mutation.mfaTotpEnable": only(SIGNED_IN, NO_KEY, "CONFLICT", own=True),
    "Mutation.mfaTotpVerify": only(EVERYBODY, ANY_KEY, "UNAUTHENTICATED"),
    "Mutation.mfaTotpDisable": only(SIGNED_IN, NO_KEY, own=True),
    "Mutation.recoveryCodesGenerate": only(SIGNED_IN, NO_KEY, "CONFLICT", own=True),
    "Mutation.recoveryCodeUse": only(EVERYBODY, ANY_KEY, "UNAUTHENTICATED"),
    "Mutation.webauthnRegisterStart": only(SIGNED_IN, NO_KEY, own=True),
    "Mutation.webauthnRegisterFinish": only(SIGNED_IN, NO_KEY, "BAD_USER_INPUT", own=True),
    "Mutation.webauthnAuthenticateStart": only(EVERYBODY, ANY_KEY),
    "Mutation.webauthnAuthenticateFinish": only(EVERYBODY, ANY_KEY, "BAD_USER_INPUT"),
    "Mutation.webauthnCredentialDelete": only(SIGNED_IN, NO_KEY, "NOT_FOUND", own=True),
    "Mutation.apiKeyCreate": only(SIGNED_IN, NO_KEY, own=True),
    "Mutation.apiKeyRevoke": only(SIGNED_IN, NO_KEY, own=True),
    "Mutation.workspaceCreate": only(SIGNED_IN, NO_KEY),
    "Mutation.workspaceUpdate": of(OWNERS, NO_KEY),
    "Mutation.workspaceDelete": of(OWNERS, NO_KEY, "CONFLICT"),
    "Mutation.memberAdd": of(OWNERS, NO_KEY),
    "Mutation.memberUpdate": of(OWNERS, NO_KEY),
    "Mutation.memberRemove": of(OWNERS, NO_KEY),
    "Mutation.grantCreate": of(OWNERS, NO_KEY),
    "Mutation.grantUpdate": of(OWNERS, NO_KEY),
    "Mutation.grantDelete": of(OWNERS, NO_KEY),
    "Mutation.inviteCreate": at(OWNERS, NO_KEY),
    "Mutation.inviteRevoke": of(OWNERS, NO_KEY),
    "Mutation.inviteAccept": only(SIGNED_IN, NO_KEY, "FORBIDDEN"),
    "Mutation.userCreate": only("admin", NO_KEY),
    "Mutation.userUpdate": only("admin", NO_KEY),
    "Mutation.userDisable": only("admin", NO_KEY),
    "Mutation.userFactorsReset": only("admin", NO_KEY),
    "Mutation.userDelete": only("admin", NO_KEY),
    "Mutation.experimentCreate": at(EDITORS, RUNS_W),
    "Mutation.experimentUpdate": of(EDITORS, RUNS_W),
    "Mutation.experimentDelete": of(EDITORS, RUNS_W),
    "Mutation.experimentRestore": of(EDITORS, RUNS_W),
    "Mutation.runCreate": at(EDITORS, RUNS_W),
    "Mutation.runUpdate": of(EDITORS, RUNS_W),
    "Mutation.runStart": of(EDITORS, RUNS_W),
    "Mutation.runFinish": of(EDITORS, RUNS_W),
    "Mutation.runStop": of(EDITORS, RUNS_W),
    "Mutation.runResume": of(EDITORS, RUNS_W),
    "Mutation.runDelete": of(EDITORS, RUNS_W),
    "Mutation.runRestore": of(EDITORS, RUNS_W),
    "Mutation.runPurge": of(EDITORS, RUNS_W),
    "Mutation.runsUpdate": of(EDITORS, RUNS_W),
    "Mutation.runsDelete": of(EDITORS, RUNS_W),
    "Mutation.runsRestore": of(EDITORS, RUNS_W),
    "Mutation.runsPurge": of(EDITORS, RUNS_W),
    "Mutation.metricsLog": of(EDITORS, RUNS_W),
    "Mutation.paramsLog": of(EDITORS, RUNS_W),
    "Mutation.tagsSet": of(EDITORS, RUNS_W),
    "Mutation.tagsDelete": of(EDITORS, RUNS_W),
    "Mutation.logsAppend": of(EDITORS, RUNS_W),
    "Mutation.modelCreate": at(EDITORS, MODELS_W),
    "Mutation.modelUpdate": of(EDITORS, MODELS_W),
    "Mutation.modelDelete": of(EDITORS, MODELS_W),
    "Mutation.modelVersionCreate": of(EDITORS, MODELS_W),
    "Mutation.modelVersionUpdate": of(EDITORS, MODELS_W),
    "Mutation.modelVersionDelete": of(EDITORS, MODELS_W),
    "Mutation.modelAliasSet": of(EDITORS, MODELS_W),
    "Mutation.modelAliasDelete": of(EDITORS, MODELS_W),
    "Mutation.modelVersionDeploy": of(EDITORS, ENDS_W, "CONFLICT"),
    "Mutation.endpointCreate": of(EDITORS, ENDS_W),
    "Mutation.endpointUpdate": of(EDITORS, ENDS_W),
    "Mutation.endpointDelete": of(EDITORS, ENDS_W),
    "Mutation.endpointStart": of(EDITORS, ENDS_W, "CONFLICT"),
    "Mutation.endpointStop": of(EDITORS, ENDS_W),
    "Subscription.runMetrics": of(VIEWERS, RUNS_R),
    "Subscription.runUpdated": of(VIEWERS, RUNS_R),
    "Subscription.runsUpdated": of(VIEWERS, RUNS_R),
    "Subscription.runLogs": of(VIEWERS, RUNS_R),
    "Subscription.systemMetrics": only(SIGNED_IN, READING),
}

REST: Final[dict[str, Row]] = {
    "GET /health": only(EVERYBODY, ANY_KEY),
    "GET /health/ready": only(EVERYBODY, ANY_KEY),
    "GET /metrics": only("admin", STATS),
    "GET /api/metrics": only(SIGNED_IN, READING),
    "GET /api/admin/stats": only("admin", STATS),
    "GET /api/admin/audit": only("admin", NO_KEY),
    "GET /api/openapi.json": only(SIGNED_IN, ANY_KEY),
    "GET /api/schemas/arch-1.json": only(SIGNED_IN, ANY_KEY),
    "POST /api/auth/setup": only(EVERYBODY, ANY_KEY, "CONFLICT"),
    "POST /api/auth/login": only(EVERYBODY, ANY_KEY),
    "POST /api/auth/register": only(EVERYBODY, ANY_KEY, "FORBIDDEN"),
    "GET /api/auth/export": only(SIGNED_IN, NO_KEY),
    "GET /api/admin/users": only("admin", NO_KEY),
    "POST /api/admin/users": only("admin", NO_KEY),
    "PUT /api/admin/users/{id}": only("admin", NO_KEY),
    "DELETE /api/admin/users/{id}": only("admin", NO_KEY),
    "DELETE /api/admin/users/{id}/factors": only("admin", NO_KEY),
    "POST /api/auth/refresh": only(EVERYBODY, ANY_KEY),
    "POST /api/auth/logout": only(SIGNED_IN, NO_KEY, own=True),
    "GET /api/auth/me": only(SIGNED_IN, ANY_KEY),
    "GET /api/auth/keys": only(SIGNED_IN, NO_KEY),
    "POST /api/auth/keys": only(SIGNED_IN, NO_KEY, own=True),
    "DELETE /api/auth/keys/{id}": only(SIGNED_IN, NO_KEY, own=True),
    "GET /api/auth/mfa/totp/setup": only(SIGNED_IN, ANY_KEY, "METHOD_NOT_ALLOWED"),
    "POST /api/auth/mfa/totp/setup": only(SIGNED_IN, NO_KEY, own=True),
    "POST /api/auth/mfa/totp/enable": only(SIGNED_IN, NO_KEY, "CONFLICT", own=True),
    "POST /api/auth/mfa/totp/verify": only(EVERYBODY, ANY_KEY, "UNAUTHENTICATED"),
    "GET /api/auth/mfa/recovery": only(SIGNED_IN, ANY_KEY, "METHOD_NOT_ALLOWED"),
    "POST /api/auth/mfa/recovery": only(EVERYBODY, ANY_KEY, "UNAUTHENTICATED"),
    "GET /api/auth/mfa/recovery/generate": only(SIGNED_IN, ANY_KEY, "METHOD_NOT_ALLOWED"),
    "POST /api/auth/mfa/recovery/generate": only(SIGNED_IN, NO_KEY, "CONFLICT", own=True),
    "POST /api/auth/mfa/webauthn/register/start": only(SIGNED_IN, NO_KEY, own=True),
    "POST /api/auth/mfa/webauthn/register/finish": only(SIGNED_IN, NO_KEY, "BAD_USER_INPUT", own=True),
    "POST /api/auth/mfa/webauthn/authenticate/start": only(EVERYBODY, ANY_KEY),
    "POST /api/auth/mfa/webauthn/authenticate/finish": only(EVERYBODY, ANY_KEY, "BAD_USER_INPUT"),
    "DELETE /api/auth/mfa/webauthn/{id}": only(SIGNED_IN, NO_KEY, "NOT_FOUND", own=True),
    "GET /v1/permissions": at(OWNERS, NO_KEY),
    "POST /v1/permissions": of(OWNERS, NO_KEY),
    "GET /v1/permissions/{id}": of(OWNERS, NO_KEY),
    "PUT /v1/permissions/{id}": of(OWNERS, NO_KEY),
    "DELETE /v1/permissions/{id}": of(OWNERS, NO_KEY),
    "GET /api/experiments": at(VIEWERS, RUNS_R),
    "POST /api/experiments": at(EDITORS, RUNS_W),
    "GET /api/experiments/{id}": of(VIEWERS, RUNS_R),
    "GET /api/training/runs": at(VIEWERS, RUNS_R),
    "POST /api/training/runs": at(EDITORS, RUNS_W),
    "GET /api/training/runs/{id}": of(VIEWERS, RUNS_R),
    "PATCH /api/training/runs/{id}": of(EDITORS, RUNS_W),
    "DELETE /api/training/runs/{id}": of(EDITORS, RUNS_W),
    "POST /api/training/runs/{id}/start": of(EDITORS, RUNS_W),
    "POST /api/training/runs/{id}/finish": of(EDITORS, RUNS_W),
    "POST /api/training/runs/{id}/stop": of(EDITORS, RUNS_W),
    "POST /api/training/runs/{id}/resume": of(EDITORS, RUNS_W),
    "POST /api/training/runs/{id}/restore": of(EDITORS, RUNS_W),
    "POST /api/training/runs/{id}/purge": of(EDITORS, RUNS_W),
    "POST /api/training/runs/{id}/params": of(EDITORS, RUNS_W),
    "POST /api/training/runs/{id}/tags": of(EDITORS, RUNS_W),
    "POST /api/training/runs/{id}/metrics": of(EDITORS, RUNS_W),
    "GET /api/training/runs/{id}/metrics": of(VIEWERS, RUNS_R),
    "POST /api/training/runs/{id}/log": of(EDITORS, RUNS_W),
    "POST /api/training/runs/{id}/logs": of(EDITORS, RUNS_W),
    "GET /api/training/runs/{id}/logs": of(VIEWERS, RUNS_R),
    "GET /api/training/runs/{id}/stream": of(VIEWERS, RUNS_R),
    # What lies between two kinds of things asks for both, which no single scope of a key gives.
    "GET /api/training/runs/{id}/versions": of(VIEWERS, NO_KEY),
    "GET /api/models": at(VIEWERS, MODELS_R),
    "POST /api/models": at(EDITORS, MODELS_W),
    "GET /api/models/{id}": of(VIEWERS, MODELS_R),
    "PUT /api/models/{id}": of(EDITORS, MODELS_W),
    "DELETE /api/models/{id}": of(EDITORS, MODELS_W),
    "POST /api/models/{id}/tags": of(EDITORS, MODELS_W),
    "GET /api/models/{id}/versions": of(VIEWERS, MODELS_R),
    "POST /api/models/{id}/versions": of(EDITORS, MODELS_W),
    "GET /api/models/{id}/versions/{v}": of(VIEWERS, MODELS_R),
    "PUT /api/models/{id}/versions/{v}": of(EDITORS, MODELS_W),
    "POST /api/models/{id}/versions/{v}/tags": of(EDITORS, MODELS_W),
    "DELETE /api/models/{id}/versions/{v}": of(EDITORS, MODELS_W),
    "PUT /api/models/{id}/versions/{v}/architecture": of(EDITORS, MODELS_W),
    "GET /api/models/{id}/versions/{v}/download": of(VIEWERS, MODELS_R),
    "POST /api/models/{id}/uploads": of(EDITORS, MODELS_W),
    "GET /api/models/{id}/versions/{v}/content": of(VIEWERS, MODELS_R),
    "PUT /api/models/{id}/versions/{v}/content": of(EDITORS, MODELS_W),
    "GET /api/models/{id}/versions/{v}/files": of(VIEWERS, MODELS_R),
    "GET /api/models/{id}/versions/{v}/files/{name}": of(VIEWERS, MODELS_R),
    "PUT /api/models/{id}/versions/{v}/files/{name}": of(EDITORS, MODELS_W),
    "GET /api/models/{id}/versions/{v}/compare": of(VIEWERS, MODELS_R),
    "PUT /api/models/{id}/versions/{v}/stage": of(EDITORS, MODELS_W),
    "GET /api/models/{id}/versions/{v}/endpoints": of(VIEWERS, NO_KEY),
    "GET /api/models/{id}/aliases": of(VIEWERS, MODELS_R),
    "PUT /api/models/{id}/aliases/{alias}": of(EDITORS, MODELS_W),
    "DELETE /api/models/{id}/aliases/{alias}": of(EDITORS, MODELS_W),
    # Naming a version by its model asks for models too, which no single scope gives together with endpoints.
    "POST /api/models/{id}/versions/{v}/deploy": of(EDITORS, NO_KEY, "CONFLICT"),
    "GET /api/inference/endpoints": at(VIEWERS, ENDS_R),
    "POST /api/inference/endpoints": of(EDITORS, ENDS_W),
    "GET /api/inference/endpoints/{id}": of(VIEWERS, ENDS_R),
    "PUT /api/inference/endpoints/{id}": of(EDITORS, ENDS_W),
    "DELETE /api/inference/endpoints/{id}": of(EDITORS, ENDS_W),
    "POST /api/inference/endpoints/{id}/start": of(EDITORS, ENDS_W, "CONFLICT"),
    "POST /api/inference/endpoints/{id}/stop": of(EDITORS, ENDS_W),
    "POST /api/inference/predict/{name}": of(EDITORS, PREDICT, "UNAVAILABLE"),
}
