"""The dataloaders of one operation, one group per noun."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from resolvers.endpoints import EndpointLoaders
from resolvers.experiments import ExperimentLoaders
from resolvers.identity import IdentityLoaders
from resolvers.logs import LogLoaders
from resolvers.metrics import MetricLoaders
from resolvers.models import ModelLoaders
from resolvers.runs import RunLoaders
from resolvers.workspaces import WorkspaceLoaders

if TYPE_CHECKING:
    from domain.access import Scope
    from resolvers.context import Services


@dataclass(frozen=True, slots=True)
class Loaders:
    """Every loader, made fresh for each operation."""

    identity: IdentityLoaders
    workspaces: WorkspaceLoaders
    experiments: ExperimentLoaders
    runs: RunLoaders
    metrics: MetricLoaders
    logs: LogLoaders
    models: ModelLoaders
    endpoints: EndpointLoaders

    @classmethod
    def of(cls, services: Services, scope: Scope) -> Loaders:
        """Loaders that read as `scope`."""
        return cls(
            IdentityLoaders.of(services, scope),
            WorkspaceLoaders.of(services, scope),
            ExperimentLoaders.of(services, scope),
            RunLoaders.of(services, scope),
            MetricLoaders.of(services, scope),
            LogLoaders.of(services, scope),
            ModelLoaders.of(services, scope),
            EndpointLoaders.of(services, scope),
        )
