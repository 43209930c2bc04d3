"""Counts over the whole instance, and what waits to be sealed: one statement each, over all workspaces."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from domain import ids
from domain.endpoints import EndpointStatus
from domain.runs import ENDED, RunStatus
from domain.stats import InstanceCounts, SealingState
from persistence.database import Database
from persistence.lease import SEALING
from persistence.metrics.sealer import SealRules

SEALER: Final = "seals "
"""Before the name of a server, what its connection that holds the lease is called; together at most 63 characters."""

_COUNTS: Final = """
    SELECT (SELECT count(*) FROM users) AS users,
           runs.count AS runs, runs.active AS runs_active,
           (SELECT COALESCE(sum(points), 0)::int8 FROM run_heads) AS points,
           (SELECT count(*) FROM models) AS models,
           (SELECT count(*) FROM model_versions) AS model_versions,
           (SELECT count(*) FROM endpoints) AS endpoints,
           (SELECT count(*) FROM endpoints WHERE status = $2) AS endpoints_running,
           pg_database_size(current_database()) AS database_bytes,
           (SELECT COALESCE(sum(size_bytes), 0)::int8 FROM (SELECT DISTINCT sha256, size_bytes FROM blobs) b)
               AS file_bytes
    FROM (SELECT count(*), count(*) FILTER (WHERE status = $1) AS active FROM runs WHERE purged_at IS NULL) runs
"""
# A run is due by the sealer's own rule: $1 how runs end; ended ones are due when they ended before $2, batches of live
# ones when they came before $3 and $4 of them, or $5 points and $6 points per key, make it worth while. $7 are runs to
# leave out, $8 is the lease.
_SEALING: Final = """
    WITH waiting AS (
        SELECT h.run_id, r.status = ANY($1::text[]) AS ended, r.ended_at, h.run_id <> ALL($7::uuid[]) AS counts,
               h.metric_seq > GREATEST(h.sealed_seq, h.weighed_seq) AS unweighed, unsealed.*
        FROM run_heads h CROSS JOIN LATERAL (
            -- Few wait of very many runs, which the planner does not know: OFFSET makes it look up those few.
            SELECT status, ended_at, purged_at FROM runs WHERE id = h.run_id OFFSET 0
        ) r CROSS JOIN LATERAL (
            SELECT COALESCE(sum(b.points), 0) AS points,
                   min(b.created_at) FILTER (WHERE b.seq > h.weighed_seq) AS oldest,
                   count(*) FILTER (WHERE b.seq > h.weighed_seq AND b.created_at < $3) AS old_batches,
                   sum(b.points) FILTER (WHERE b.seq > h.weighed_seq AND b.created_at < $3) AS old_points
            FROM metric_batches b WHERE b.run_id = h.run_id AND b.seq > h.sealed_seq
        ) unsealed
        WHERE h.metric_seq > h.sealed_seq AND r.purged_at IS NULL
    ), due AS (
        SELECT CASE WHEN ended THEN $2 - COALESCE(ended_at, oldest) ELSE $3 - oldest END AS lag
        FROM waiting
        WHERE counts AND unweighed AND CASE WHEN ended THEN COALESCE(ended_at < $2, true) ELSE
            old_batches >= $4 OR old_points >= GREATEST(
                $5, $6 * (SELECT count(*) FROM metric_summaries m WHERE m.run_id = waiting.run_id)
            ) END
    )
    SELECT (SELECT count(*) FROM waiting) AS unsealed_runs,
           (SELECT COALESCE(sum(points), 0)::int8 FROM waiting) AS unsealed_points,
           (SELECT count(*) FROM due) AS due_runs, (SELECT max(lag) FROM due) AS lag,
           (SELECT a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
            WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
              AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
              AND (l.classid::int8 << 32) | l.objid::int8 = $8) AS holder
"""


class PostgresStats:
    """`InstanceStore` on the process's pool."""

    def __init__(self, database: Database, rules: SealRules) -> None:
        self._database = database
        self._rules = rules

    async def counts(self) -> InstanceCounts:
        row = await self._database.fetchrow(_COUNTS, RunStatus.RUNNING.value, EndpointStatus.RUNNING.value)
        return InstanceCounts(**dict(row or {}))

    async def sealing(self, now: datetime, left_out: Collection[str]) -> SealingState:
        rules = self._rules
        row = await self._database.fetchrow(
            _SEALING,
            [status.value for status in ENDED],
            now - rules.ended_after,
            now - rules.live_after,
            rules.batches,
            rules.points,
            rules.points_per_key,
            [ids.to_uuid(run_id) for run_id in left_out],
            SEALING,
        )
        found = dict(row or {})
        holder = found.pop("holder")
        return SealingState(holder=None if holder is None else holder.removeprefix(SEALER), **found)
