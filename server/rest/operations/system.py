"""Health, the load of the machine, the figures of the instance, and the OpenAPI document itself."""

from __future__ import annotations

from server.rest.route import JSON, SCHEMA_JSON, TEXT, Answer, Operation, Raw, json_answer
from server.rest.structs.system import Health, Readiness, ServerStats, SystemMetrics

HEALTH = Operation(
    method="get",
    path="/health",
    operation_id="health",
    tag="system",
    summary="Is the process alive?",
    description="Liveness: answers as long as the process does, whatever it depends on.",
    answers={200: json_answer(Health, "The process is alive.")},
    security="public",
    bare=True,
)
READY = Operation(
    method="get",
    path="/health/ready",
    operation_id="healthReady",
    tag="system",
    summary="Can the server do its work?",
    description=(
        "Readiness: the database answers, its migrations are those of this version, and no shutdown has begun."
    ),
    answers={200: json_answer(Readiness, "Ready for requests.")},
    security="public",
    errors=(503,),
    bare=True,
)
OPENAPI = Operation(
    method="get",
    path="/api/openapi.json",
    operation_id="openapi",
    tag="system",
    summary="This document",
    description="The OpenAPI 3.1 document of the routes that this server serves, generated from their types.",
    answers={200: Answer("The document.", {JSON: Raw({"type": "object"})})},
)
ARCHITECTURE_SCHEMA = Operation(
    method="get",
    path="/api/schemas/arch-1.json",
    operation_id="architectureSchema",
    tag="models",
    summary="Schema of the architecture document",
    description=(
        "The JSON Schema (2020-12) of the architecture document `arch/1`, generated from the table of operations. It"
        " says all that can be said without computing shapes."
    ),
    answers={200: Answer("The schema.", {SCHEMA_JSON: Raw({"type": "object"})})},
)

SYSTEM = Operation(
    method="get",
    path="/api/metrics",
    operation_id="system",
    tag="system",
    summary="Figures of the host",
    description=(
        "Processor, memory, disks, network, accelerators and the server's own processes. Rates are those since the"
        " reading before, of the last minute at most. An API key needs any scope that reads."
    ),
    answers={200: json_answer(SystemMetrics, "The figures.")},
)

STATS = Operation(
    method="get",
    path="/api/admin/stats",
    operation_id="stats",
    tag="admin",
    summary="Figures of the instance",
    description="How much there is of everything. For administrators; their API keys need the scope `stats:read`.",
    answers={200: json_answer(ServerStats, "The figures.")},
)
PROMETHEUS = Operation(
    method="get",
    path="/metrics",
    operation_id="prometheus",
    tag="system",
    summary="Figures for Prometheus",
    description=(
        "Counters, gauges and histograms of the server in the Prometheus text form; `worker` tells its processes"
        " apart. For administrators; scrape with an administrator's API key that has the scope `stats:read`."
    ),
    answers={200: Answer("The figures.", {TEXT: Raw({"type": "string"})})},
)

OPERATIONS = (HEALTH, READY, OPENAPI, ARCHITECTURE_SCHEMA, SYSTEM, STATS, PROMETHEUS)
