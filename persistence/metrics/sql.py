"""The statements of the metric store. `$1` of a read is the workspace: what lies outside it does not exist.

Keys are ordered by code point (COLLATE "C") on every database, so that pages and cursors agree with Python's order.
"""

from __future__ import annotations

from typing import Final

_SUMMARY: Final = "key, last_value, last_step, min_value, max_value, mean_value, count, non_finite"

EXISTS: Final = "SELECT 1 FROM runs WHERE workspace_id = $1 AND id = $2 AND purged_at IS NULL"

LEDGER: Final = """
    SELECT b.seq, b.points, b.digest, r.stop_requested
    FROM metric_batches b JOIN runs r ON r.id = b.run_id
    WHERE b.run_id = $1 AND b.batch_id = $2
"""

SUMMARIES_OF_KEYS: Final = f"SELECT {_SUMMARY} FROM metric_summaries WHERE run_id = $1 AND key = ANY($2::text[])"  # noqa: S608 - constant

COUNT_KEYS: Final = "SELECT count(*) FROM metric_summaries WHERE run_id = $1"

# The batch, the head and the summaries in one round trip.
APPEND: Final = f"""
    WITH batch AS (
        INSERT INTO metric_batches (run_id, seq, batch_id, digest, points, payload, created_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
    ), head AS (
        UPDATE run_heads SET metric_seq = $2, points = points + $5, last_step = GREATEST(last_step, $8)
        WHERE run_id = $1
    )
    INSERT INTO metric_summaries (run_id, {_SUMMARY})
    SELECT $1, given.* FROM unnest(
        $9::text[], $10::float8[], $11::int8[], $12::float8[], $13::float8[], $14::float8[], $15::int8[], $16::int8[]
    ) AS given
    ON CONFLICT (run_id, key) DO UPDATE SET
        last_value = EXCLUDED.last_value, last_step = EXCLUDED.last_step, min_value = EXCLUDED.min_value,
        max_value = EXCLUDED.max_value, mean_value = EXCLUDED.mean_value, count = EXCLUDED.count,
        non_finite = EXCLUDED.non_finite
"""  # noqa: S608 - constant

SUMMARIES: Final = f"""
    SELECT r.id AS run_id, s.*
    FROM runs r CROSS JOIN LATERAL (
        SELECT {_SUMMARY} FROM metric_summaries m
        WHERE m.run_id = r.id AND ($3::text[] IS NULL OR m.key = ANY($3))
        ORDER BY m.key COLLATE "C" LIMIT $4
    ) s
    WHERE r.workspace_id = $1 AND r.id = ANY($2::uuid[]) AND r.purged_at IS NULL
    ORDER BY r.id, s.key COLLATE "C"
"""  # noqa: S608 - constant

KEYS: Final = """
    SELECT r.id AS run_id,
           ARRAY(
               SELECT m.key FROM metric_summaries m
               WHERE m.run_id = r.id AND ($3::text IS NULL OR m.key COLLATE "C" > $3)
               ORDER BY m.key COLLATE "C" LIMIT $4
           ) AS keys,
           (SELECT count(*) FROM metric_summaries m WHERE m.run_id = r.id) AS total
    FROM runs r
    WHERE r.workspace_id = $1 AND r.id = ANY($2::uuid[]) AND r.purged_at IS NULL
"""

BATCHES: Final = """
    SELECT r.id AS run_id, COALESCE(r.started_at, r.created_at) AS began, b.seq, b.payload
    FROM runs r JOIN metric_batches b ON b.run_id = r.id
    WHERE r.workspace_id = $1 AND r.id = ANY($2::uuid[]) AND r.purged_at IS NULL
    ORDER BY r.id, b.seq
"""

# The state of a run and its next batches after $3 in one snapshot: until they hold $4 points, at least one, at most $5.
NEXT: Final = """
    SELECT r.status, r.stop_requested, h.metric_seq AS head, b.seq, b.payload
    FROM runs r JOIN run_heads h ON h.run_id = r.id LEFT JOIN LATERAL (
        SELECT seq, payload FROM (
            SELECT seq, payload, sum(points) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - points AS before
            FROM metric_batches WHERE run_id = r.id AND seq > $3 ORDER BY seq LIMIT $5
        ) following WHERE before < $4
    ) b ON true
    WHERE r.workspace_id = $1 AND r.id = $2 AND r.purged_at IS NULL
    ORDER BY b.seq
"""
