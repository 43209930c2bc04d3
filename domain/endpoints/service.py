"""The use-cases of endpoints: create, change, deploy, start, stop, delete, predict.

Starting, stopping and switching are recorded at once and carried out by the operator; callers see the state it is in
and may wait for it to settle. No rule about states lives here: see `lifecycle`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

from domain import ids, names
from domain.access import Action, KeyScope, Scope
from domain.clock import Clock
from domain.endpoints import lifecycle
from domain.endpoints.entities import (
    ConfigChanges,
    Endpoint,
    EndpointConfig,
    EndpointStatus,
    EndpointTraffic,
    Prediction,
    PredictionRequest,
    checked_replicas,
)
from domain.endpoints.listening import Room
from domain.endpoints.ports import EndpointRepository, EndpointRunner, Transition
from domain.endpoints.predictions import Answer, Predictor
from domain.endpoints.traffic import WHOLE, divided, shifted
from domain.endpoints.warm_ups import Reports
from domain.errors import BadUserInput, Conflict, NotFound
from domain.idempotency import ClientToken
from domain.models.entities import ModelVersion
from domain.models.ports import ModelRepository
from domain.paging import Page, PageRequest
from domain.serving import check_device, check_device_exists


class Endpoints:
    """Use-cases. `cores` bounds replicas × threads of one endpoint; `room` what runs on this server at once.

    `gpus` says how many CUDA devices this server has.
    """

    def __init__(
        self,
        *,
        endpoints: EndpointRepository,
        models: ModelRepository,
        operator: EndpointRunner,
        predictor: Predictor,
        clock: Clock,
        cores: int,
        room: Room,
        gpus: int = 0,
    ) -> None:
        self._endpoints = endpoints
        self._models = models
        self._operator = operator
        self._predictor = predictor
        self._clock = clock
        self._cores = cores
        self._gpus = gpus
        self._room = room

    # --- read ------------------------------------------------------------------------------------

    async def find(self, scope: Scope, *, endpoint_id: str | None = None, name: str | None = None) -> Endpoint | None:
        """One endpoint by id or by name; None when there is none. Raises BadUserInput unless exactly one is given."""
        scope.carry(KeyScope.ENDPOINTS_READ)
        if (endpoint_id is None) == (name is None):
            raise BadUserInput("give either id or name", field="id")
        if endpoint_id is not None:
            wanted = ids.parse("end", endpoint_id)
            return (await self._endpoints.by_ids(scope, [wanted])).get(wanted)
        return await self._endpoints.by_name(scope, name) if name is not None and names.is_slug(name) else None

    async def get(self, scope: Scope, endpoint: str) -> Endpoint:
        """One endpoint by id or name. Raises NotFound."""
        by_id = ids.looks_like_id(endpoint)
        found = await (self.find(scope, endpoint_id=endpoint) if by_id else self.find(scope, name=endpoint))
        if found is None:
            raise NotFound("there is no such endpoint", field="id")
        return found

    async def list(self, scope: Scope, page: PageRequest, *, offset: int = 0) -> Page[Endpoint]:
        """The endpoints of the workspace, newest first."""
        scope.carry(KeyScope.ENDPOINTS_READ)
        return await self._endpoints.page(scope, page, offset)

    async def by_ids(self, scope: Scope, endpoint_ids: Sequence[str]) -> dict[str, Endpoint]:
        """Those that exist and may be read, by id."""
        scope.carry(KeyScope.ENDPOINTS_READ)
        return await self._endpoints.by_ids(scope, endpoint_ids)

    async def warm_ups(self, scope: Scope, endpoint_ids: Sequence[str]) -> Reports:
        """What loading the versions behind each endpoint cost, those with the largest share first."""
        scope.carry(KeyScope.ENDPOINTS_READ)
        return await self._endpoints.warm_ups(scope, endpoint_ids)

    async def of_owners(self, scope: Scope, owner_ids: Sequence[str], page: PageRequest) -> dict[str, Page[Endpoint]]:
        """The endpoints of each user, newest first."""
        scope.carry(KeyScope.ENDPOINTS_READ)
        return await self._endpoints.of_owners(scope, owner_ids, page)

    async def of_versions(
        self, scope: Scope, version_ids: Sequence[str], page: PageRequest
    ) -> dict[str, Page[Endpoint]]:
        """The endpoints whose traffic each version takes, newest first."""
        scope.carry(KeyScope.ENDPOINTS_READ)
        return await self._endpoints.of_versions(scope, version_ids, page)

    async def served_versions(self, scope: Scope, version_ids: Sequence[str]) -> dict[str, ModelVersion]:
        """The versions behind endpoints, by id, for whoever may see the endpoints."""
        scope.carry(KeyScope.ENDPOINTS_READ)
        return await self._models.versions_by_ids(scope, version_ids)

    # --- write -----------------------------------------------------------------------------------

    async def create(
        self,
        scope: Scope,
        *,
        name: str,
        version_id: str,
        replicas: int = 1,
        config: ConfigChanges | None = None,
        start: bool = False,
        client_token: str | None = None,
    ) -> Endpoint:
        """An endpoint for a servable version, stopped unless `start`.

        Raises BadUserInput, NotFound for the version, Conflict for a taken name, a version that cannot be served, or
        too many active endpoints.
        """
        scope.require(KeyScope.ENDPOINTS_WRITE)
        version = await self._servable(scope, version_id)
        endpoint = self._new(scope, name, version.id, replicas, config, start=start)
        token = ClientToken.of(
            client_token,
            "endpoint_create",
            name=name,
            version_id=version.id,
            replicas=replicas,
            config=dict(config or {}),
            start=start,
        )
        created = await self._endpoints.create(scope, endpoint, token, room=self._room)
        if created.status is EndpointStatus.STARTING:
            self._operator.wake(created)
        return created

    async def update(
        self,
        scope: Scope,
        endpoint: str,
        *,
        version_id: str | None = None,
        weight: int | None = None,
        traffic: Mapping[str, int] | None = None,
        replicas: int | None = None,
        config: ConfigChanges | None = None,
    ) -> Endpoint:
        """Changes an endpoint, given by id or name; a running one switches once the change is loaded.

        A version takes `weight` percent of the requests, or all of them; the others keep their proportions. `traffic`
        says the share of every version instead.
        Raises NotFound, BadUserInput, Conflict for a version that cannot be served or shares that do not add up,
        Unavailable when another server is at work for it.
        """
        scope.carry(KeyScope.ENDPOINTS_WRITE)
        if version_id is not None:
            version_id = (await self._servable(scope, version_id)).id
        shares = None
        if traffic is not None:
            if version_id is not None or weight is not None:
                raise BadUserInput("give either traffic or a version", field="traffic")
            shares = divided({ids.parse("ver", each, field="traffic"): share for each, share in traffic.items()})
            for share in shares:
                await self._servable(scope, share.version_id)
        return await self._change(scope, endpoint, self._to(version_id, weight, replicas, config, shares))

    async def deploy(
        self,
        scope: Scope,
        version_id: str,
        *,
        endpoint: str,
        weight: int | None = None,
        replicas: int | None = None,
        config: ConfigChanges | None = None,
        client_token: str | None = None,
    ) -> Endpoint:
        """Puts a version behind the endpoint of that name, which is made and started when needed.

        Raises as `update`.
        """
        scope.carry(KeyScope.ENDPOINTS_WRITE)
        version = await self._servable(scope, version_id)
        new = self._new(scope, endpoint, version.id, replicas or 1, config, start=True)
        change = self._to(version.id, weight, replicas, config)
        start = partial(lifecycle.start, host=self._operator.host, now=new.created_at)
        token = ClientToken.of(
            client_token,
            "model_version_deploy",
            version_id=version.id,
            endpoint=endpoint,
            **({} if weight is None else {"weight": weight}),
            replicas=replicas,
            config=dict(config or {}),
        )
        deployed = await self._endpoints.create_or_change(
            scope,
            new,
            lambda found: start(change(found)),
            token,
            admit=partial(_admit, scope, new.name, weight),
            room=self._room,
        )
        self._operator.wake(deployed)
        return deployed

    async def start(self, scope: Scope, endpoint: str) -> Endpoint:
        """Starts an endpoint, given by id or name; answers while it is STARTING. One that runs stays as it is.

        Raises NotFound, Conflict (nothing to serve, or too many active endpoints) or Unavailable (another server's).
        """
        return await self._change(scope, endpoint, partial(lifecycle.start, host=self._operator.host, now=self._now()))

    async def stop(self, scope: Scope, endpoint: str) -> Endpoint:
        """Stops an endpoint, given by id or name; answers while it is DRAINING, and takes no more requests.

        Raises NotFound, or Unavailable when another server is at work for it.
        """
        return await self._change(scope, endpoint, partial(lifecycle.stop, host=self._operator.host, now=self._now()))

    async def delete(self, scope: Scope, endpoint: str) -> str:
        """Deletes a stopped (or failed) endpoint, given by id or name; answers its id.

        Raises NotFound, Conflict while it is active, or Unavailable when another server is at work for it.
        """
        found = await self._allowed(scope, endpoint, Action.DELETE)
        await self._endpoints.delete(scope, found.id, partial(lifecycle.removable, host=self._operator.host))
        self._operator.forget(found.id)
        return found.id

    async def settled(self, scope: Scope, endpoint: Endpoint, seconds: float) -> Endpoint:
        """The endpoint once nothing is left to do for it, or as it is after that time."""
        scope.carry(KeyScope.ENDPOINTS_READ)
        await self._operator.settled(endpoint.id, seconds)
        return (await self._endpoints.by_ids(scope, [endpoint.id])).get(endpoint.id, endpoint)

    # --- predict ---------------------------------------------------------------------------------

    async def predict(self, scope: Scope, request: PredictionRequest) -> Prediction:
        """See `Predictor.predict`."""
        return await self._predictor.predict(scope, request)

    async def predict_many(self, scope: Scope, requests: Sequence[PredictionRequest]) -> Sequence[Answer]:
        """See `Predictor.predict_many`."""
        return await self._predictor.predict_many(scope, requests)

    # --- inside ----------------------------------------------------------------------------------

    def _now(self) -> datetime:
        now = self._clock.now()
        return now.replace(microsecond=now.microsecond // 1000 * 1000)

    def _new(
        self,
        scope: Scope,
        name: str,
        version_id: str,
        replicas: int,
        config: ConfigChanges | None,
        *,
        start: bool,
    ) -> Endpoint:
        now = self._now()
        count = checked_replicas(replicas)
        self._check_config(config)
        return Endpoint(
            id=ids.new("end"),
            workspace_id=scope.workspace_id,
            name=names.slug(name),
            status=EndpointStatus.STARTING if start else EndpointStatus.STOPPED,
            status_reason=None,
            traffic=[EndpointTraffic(version_id, WHOLE)],
            replicas=count,
            config=EndpointConfig().changed(config or ConfigChanges(), replicas=count, cores=self._cores),
            port=None,
            owner_id=scope.principal.user_id,
            created_at=now,
            updated_at=now,
            host=self._operator.host if start else None,
        )

    def _to(
        self,
        version_id: str | None,
        weight: int | None,
        replicas: int | None,
        config: ConfigChanges | None,
        traffic: tuple[EndpointTraffic, ...] | None = None,
    ) -> Transition:
        self._check_config(config)
        return partial(
            lifecycle.change,
            host=self._operator.host,
            now=self._now(),
            cores=self._cores,
            version_id=version_id,
            weight=weight,
            traffic=traffic,
            replicas=replicas,
            config=config,
        )

    def _check_config(self, config: ConfigChanges | None) -> None:
        """Raises BadUserInput when a device or a port is asked for that this server does not have."""
        if config is not None:
            self._room.ports.check(config.get("port"))
        if config is not None and "device" in config:
            check_device(config["device"], field="config.device")
            check_device_exists(config["device"], self._gpus, field="config.device")

    async def _allowed(self, scope: Scope, endpoint: str, action: Action) -> Endpoint:
        """The endpoint, by id or name, with which this may be done. Raises BadUserInput, NotFound, Forbidden."""
        scope.carry(KeyScope.ENDPOINTS_WRITE)
        found = await self.get(scope, endpoint)
        scope.require(KeyScope.ENDPOINTS_WRITE, found.id, action=action)
        return found

    async def _change(self, scope: Scope, endpoint: str, transition: Transition) -> Endpoint:
        found = await self._allowed(scope, endpoint, Action.WRITE)
        changed = await self._endpoints.change(scope, found.id, transition, room=self._room)
        self._operator.wake(changed)
        return changed

    async def _servable(self, scope: Scope, version_id: str) -> ModelVersion:
        wanted = ids.parse("ver", version_id, field="version_id")
        version = (await self._models.versions_by_ids(scope, [wanted])).get(wanted)
        if version is None:
            raise NotFound("there is no such model version", field="version_id")
        if version.servable_reason is not None:
            raise Conflict(
                f"version {version.version} of {version.model_name!r} cannot be served: {version.servable_reason}",
                field="version_id",
            )
        return version


def _admit(scope: Scope, name: str, weight: int | None, found: str | None) -> None:
    """That the caller may make an endpoint of that name, or change the one (by id) that has it.

    Raises Forbidden; Conflict for one that may not be read, whose name is taken all the same; and, for a new one, as
    `shifted`: its first version takes all requests.
    """
    try:
        scope.require(KeyScope.ENDPOINTS_WRITE, found)
    except NotFound:
        raise Conflict(f"an endpoint called {name!r} exists already", field="endpoint") from None
    if found is None and weight is not None:
        shifted((), "", weight)
