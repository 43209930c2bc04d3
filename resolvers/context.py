"""What a resolver gets: who asks, the use-cases, and the dataloaders of this one operation.

A new `Context` is made for each operation, on a WebSocket too, so that loaders never carry one operation's rows into
the next. Resolvers reach persistence and serving only through the use-cases held here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from domain.access import Scope
from domain.audit import AuditLog
from domain.endpoints import Endpoints
from domain.errors import DomainError, Unauthenticated
from domain.experiments import Experiments
from domain.identity import ClientInfo, Identity, Tokens
from domain.logs import Logs
from domain.metrics import Metrics
from domain.metrics.stream import RunStream
from domain.models import ModelFiles, Models, Uploads
from domain.models.aliases import ModelAliases
from domain.models.comparison import VersionComparisons
from domain.models.tensors import Tensors
from domain.runs import Runs
from domain.stats import Stats
from domain.system import System
from resolvers.loaders import Loaders


@dataclass(frozen=True, slots=True)
class Services:
    """Every use-case of the product."""

    identity: Identity
    experiments: Experiments
    runs: Runs
    metrics: Metrics
    run_stream: RunStream
    logs: Logs
    models: Models
    uploads: Uploads
    model_files: ModelFiles
    aliases: ModelAliases
    comparisons: VersionComparisons
    tensors: Tensors
    endpoints: Endpoints
    system: System
    stats: Stats
    audit: AuditLog
    version: str
    features: tuple[str, ...] = ()


class SessionCookies(Protocol):
    """The browser's session, kept in cookies by the edge. None of this exists on a WebSocket."""

    @property
    def access_token(self) -> str | None:
        """The access token of the session cookie that came with the request, from one of our own pages."""
        ...

    @property
    def refresh_token(self) -> str | None:
        """The refresh token that came with the request."""
        ...

    def keep(self, tokens: Tokens) -> None:
        """Sets the cookies of a session on the answer."""
        ...

    def clear(self) -> None:
        """Removes them."""
        ...


@dataclass
class Context:
    """One operation: `scope` is None for an anonymous caller; `problem` says why credentials that came are refused."""

    services: Services
    scope: Scope | None
    request_id: str
    client: ClientInfo
    cookies: SessionCookies | None = None
    problem: DomainError | None = None
    extra: dict[str, object] = field(default_factory=dict)

    @cached_property
    def loaders(self) -> Loaders:
        """The dataloaders of this operation."""
        return Loaders.of(self.services, self.require_scope())

    def require_scope(self) -> Scope:
        """Raises Unauthenticated for an anonymous caller."""
        if self.scope is None:
            raise Unauthenticated("sign in first: send an access token or an API key as Authorization: Bearer")
        return self.scope

    def for_operation(self) -> Context:
        """The same caller with fresh loaders."""
        return Context(self.services, self.scope, self.request_id, self.client, self.cookies, self.problem)
