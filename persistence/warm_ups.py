"""What loading each version at each endpoint cost when it was last loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from domain import ids
from domain.endpoints.warm_ups import Reports, WarmUpReport
from domain.serving import WarmUp
from persistence.database import Database


async def record(database: Database, endpoint_id: str, report: WarmUpReport) -> None:
    """Keeps the newest report of a version; nothing when the endpoint or the version has been deleted meanwhile."""
    measured = {**asdict(report.measured), "max_batch_rows": report.max_batch_rows, "device": report.device}
    await database.execute(
        "INSERT INTO endpoint_warm_ups (endpoint_id, version_id, report, measured_at)"
        " SELECT e.id, v.id, $3, $4 FROM endpoints e, model_versions v WHERE e.id = $1 AND v.id = $2 FOR KEY SHARE"
        " ON CONFLICT (endpoint_id, version_id) DO UPDATE SET report = $3, measured_at = $4",
        ids.to_uuid(endpoint_id),
        ids.to_uuid(report.version_id),
        json.dumps(measured),
        report.measured_at,
    )


async def of_endpoints(database: Database, workspace_id: str, endpoint_ids: Sequence[str]) -> Reports:
    """The reports of the versions that take traffic at each endpoint, those with the largest share first."""
    rows = await database.fetch(
        "SELECT w.endpoint_id, w.version_id, w.report, w.measured_at FROM endpoint_warm_ups w"
        " JOIN endpoint_traffic t ON t.endpoint_id = w.endpoint_id AND t.version_id = w.version_id"
        " JOIN endpoints e ON e.id = w.endpoint_id WHERE e.workspace_id = $1 AND e.id = ANY($2::uuid[])"
        " ORDER BY t.weight DESC, t.id",
        ids.to_uuid(workspace_id),
        [ids.to_uuid(endpoint_id) for endpoint_id in endpoint_ids],
    )
    found: Reports = {}
    for row in rows:
        report = json.loads(row["report"])
        rest = {name: report.pop(name) for name in ("max_batch_rows", "device")}
        found.setdefault(ids.from_uuid("end", row["endpoint_id"]), []).append(
            WarmUpReport(
                version_id=ids.from_uuid("ver", row["version_id"]),
                measured=WarmUp(**report),
                measured_at=row["measured_at"],
                **rest,
            )
        )
    return found
