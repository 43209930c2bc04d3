"""Predictions: from decoded JSON to the backend and back.

Inputs are checked before they are sent, so that a bad request never meets a batch. Several requests of one caller
that meet the same version travel as one; each answer, and each failure, still belongs to one request alone. No
database is asked while the endpoint runs here.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Any, Final, TypeAlias

import numpy as np

from domain import ids
from domain.access import KeyScope, Scope
from domain.endpoints.entities import EndpointStatus, Prediction, PredictionRequest, Route, RoutedVersion
from domain.endpoints.lifecycle import elsewhere
from domain.endpoints.ports import EndpointRepository, EndpointRunner
from domain.endpoints.traffic import MAX_STICKY, choose
from domain.errors import BadUserInput, DomainError, NotFound, Unavailable
from domain.names import is_slug
from domain.serving import InferenceError, NotServing, PredictionResult, Predicts, ReplicaFailed
from domain.tensors import DEFAULT_MAX_BYTES, Array, decode_inputs, decode_instances, encode_outputs, encode_rows

MAX_TIMEOUT_MS: Final = 600_000

Answer: TypeAlias = Prediction | DomainError | InferenceError


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A checked request on its way to a version. `by_name`: the outputs are wanted by name."""

    request: PredictionRequest
    route: Route
    version: RoutedVersion
    inputs: Mapping[str, Array]
    rows: int
    by_name: bool
    deadline: float


class Predictor:
    """Answers predictions for the endpoints that run on this server."""

    def __init__(
        self,
        *,
        endpoints: EndpointRepository,
        operator: EndpointRunner,
        backend: Predicts,
        max_bytes: int = DEFAULT_MAX_BYTES,
    ) -> None:
        self._endpoints = endpoints
        self._operator = operator
        self._backend = backend
        self._max_bytes = max_bytes

    async def predict(self, scope: Scope, request: PredictionRequest) -> Prediction:
        """Computes one request.

        Raises Forbidden, NotFound, BadUserInput, PayloadTooLarge, Unavailable (it does not run here), Overloaded with
        `retry_after`, DeadlineExceeded, or InferenceError.
        """
        scope.carry(KeyScope.PREDICT)
        arrived = time.perf_counter()
        asked = _keyed(request, secrets.token_hex(8))
        failed: set[str] = set()
        swapped = False
        while True:
            prepared = await self._prepare(scope, asked, but=failed)
            try:
                result = await self._compute(prepared, prepared.inputs)
            except NotServing:  # it was swapped away between the look-up and the submission
                if swapped:
                    raise
                swapped = True
            except ReplicaFailed:  # the other versions answer for one that failed
                failed.add(prepared.version.version_id)
                if all(version.version_id in failed for version in prepared.route.versions):
                    raise
            else:
                return _answer(prepared, result.outputs, arrived)

    async def predict_many(self, scope: Scope, requests: Sequence[PredictionRequest]) -> list[Answer]:
        """Computes requests that arrived together, those for one version in one submission; failures in place."""
        scope.carry(KeyScope.PREDICT)
        arrived = time.perf_counter()
        key = secrets.token_hex(8)  # what does not say otherwise meets one version, and so one forward
        requests = [_keyed(request, key) for request in requests]
        answers: dict[int, Answer] = {}
        groups: dict[tuple[str, str, int | None], list[tuple[int, _Prepared]]] = {}
        for index, request in enumerate(requests):
            try:
                prepared = await self._prepare(scope, request)
            except DomainError as error:
                answers[index] = error
                continue
            group = (prepared.route.endpoint_id, prepared.version.version_id, request.timeout_ms)
            groups.setdefault(group, []).append((index, prepared))
        parts = [part for items in groups.values() for part in _within_batches(items)]
        for done in await asyncio.gather(*(self._together(scope, part, arrived) for part in parts)):
            answers.update(done)
        return [answers[index] for index in range(len(requests))]

    async def _together(self, scope: Scope, part: Sequence[tuple[int, _Prepared]], arrived: float) -> dict[int, Answer]:
        if len(part) == 1:
            return {part[0][0]: await self._alone(scope, part[0][1].request, arrived)}
        first = part[0][1]
        inputs = {name: np.concatenate([item.inputs[name] for _, item in part]) for name in first.inputs}
        try:
            result = await self._compute(first, inputs)
        except (InferenceError, NotServing, ReplicaFailed):
            # One of them upset the model, or the version was swapped away or failed: alone, each gets its own answer.
            alone = await asyncio.gather(*(self._alone(scope, item.request, arrived) for _, item in part))
            return {index: answer for (index, _), answer in zip(part, alone, strict=True)}
        except DomainError as error:
            return dict.fromkeys((index for index, _ in part), error)
        answers: dict[int, Answer] = {}
        start = 0
        for index, item in part:
            rows = slice(start, start + item.rows)
            answers[index] = _answer(item, {name: array[rows] for name, array in result.outputs.items()}, arrived)
            start += item.rows
        return answers

    async def _alone(self, scope: Scope, request: PredictionRequest, arrived: float) -> Answer:
        try:
            return replace(await self.predict(scope, request), latency_ms=_since(arrived))
        except (DomainError, InferenceError) as error:
            return error

    async def _compute(self, prepared: _Prepared, inputs: Mapping[str, Array]) -> PredictionResult:
        return await self._backend.predict(
            prepared.route.endpoint_id, prepared.version.version_id, inputs, deadline=prepared.deadline
        )

    async def _prepare(
        self, scope: Scope, request: PredictionRequest, *, but: AbstractSet[str] = frozenset()
    ) -> _Prepared:
        """Checks a request and chooses its version, not one of `but` while there is another."""
        route = self._operator.route(scope.workspace_id, request.endpoint)
        if route is None:
            route = await self._find(scope, request.endpoint)
        else:
            scope.require(KeyScope.PREDICT, route.endpoint_id, field="endpoint")
        if request.sticky is not None and not 1 <= len(request.sticky) <= MAX_STICKY:
            raise BadUserInput(f"expected 1 to {MAX_STICKY} characters", field="sticky")
        left = [version for version in route.versions if version.version_id not in but]
        version = choose(left or route.versions, route.endpoint_id, request.sticky or "")
        limit = route.config.timeout_ms
        if request.timeout_ms is not None:
            if isinstance(request.timeout_ms, bool) or not 1 <= request.timeout_ms <= MAX_TIMEOUT_MS:
                raise BadUserInput(f"expected 1 to {MAX_TIMEOUT_MS} milliseconds", field="timeout_ms")
            limit = min(limit, request.timeout_ms)
        deadline = time.monotonic() + limit / 1_000
        decode = decode_instances if request.instances else decode_inputs
        inputs = decode(request.inputs, version.inputs, max_rows=route.config.max_queue_rows, max_bytes=self._max_bytes)
        rows = next(iter(inputs.values())).shape[0]
        by_name = len(version.outputs) > 1 or (isinstance(request.inputs, Mapping) and not request.instances)
        return _Prepared(request, route, version, inputs, rows, by_name, deadline)

    async def _find(self, scope: Scope, name: str) -> Route:
        """The way to an endpoint whose place is not known by that spelling.

        Raises NotFound, Forbidden, or Unavailable.
        """
        endpoint = None
        if ids.looks_like_id(name):
            wanted = ids.parse("end", name, field="endpoint")
            endpoint = (await self._endpoints.by_ids(scope, [wanted])).get(wanted)
        elif is_slug(name):
            endpoint = await self._endpoints.by_name(scope, name)
        if endpoint is None:
            raise NotFound("there is no such endpoint", field="endpoint")
        scope.require(KeyScope.PREDICT, endpoint.id, field="endpoint")
        if (problem := elsewhere(endpoint, self._operator.host)) is not None:
            raise problem
        route = self._operator.route(scope.workspace_id, endpoint.id)
        if route is not None:
            return route
        coming = endpoint.status in (EndpointStatus.STARTING, EndpointStatus.RUNNING)
        raise Unavailable(
            f"endpoint {endpoint.name!r} is {'STARTING' if coming else endpoint.status.name}",
            retry_after=1 if coming else None,
        )


def _within_batches(group: Sequence[tuple[int, _Prepared]]) -> list[list[tuple[int, _Prepared]]]:
    """The group in parts whose rows fit one forward; a larger request stays whole, alone."""
    parts: list[list[tuple[int, _Prepared]]] = []
    room = 0
    for index, item in group:
        if item.rows > room:
            parts.append([])
            room = item.route.config.max_batch_rows
        parts[-1].append((index, item))
        room -= item.rows
    return parts


def _keyed(request: PredictionRequest, key: str) -> PredictionRequest:
    """With a key of its own, or else this one."""
    return request if request.sticky is not None else replace(request, sticky=key)


def _answer(prepared: _Prepared, outputs: Mapping[str, Array], arrived: float) -> Prediction:
    version = prepared.version
    encoded: Any
    if not prepared.by_name:
        encoded = encode_rows(outputs[version.outputs[0].name])
    else:
        encoded = encode_outputs({spec.name: outputs[spec.name] for spec in version.outputs})
        if prepared.request.instances:  # row-wise in, row-wise out
            columns = encoded
            encoded = [{name: rows[row] for name, rows in columns.items()} for row in range(prepared.rows)]
    return Prediction(encoded, prepared.route.name, version.version, prepared.rows, _since(arrived))


def _since(arrived: float) -> float:
    return (time.perf_counter() - arrived) * 1_000
