"""The statements of the metric store. `$1` of a read is the workspace: what lies outside it does not exist.

Keys are ordered by code point (COLLATE "C") on every database, so that pages and cursors agree with Python's order.
"""

from __future__ import annotations

from typing import Final

from persistence.run_writes import TOUCH

_SUMMARY: Final = "key, last_value, last_step, min_value, max_value, mean_value, count, non_finite"

EXISTS: Final = "SELECT 1 FROM runs WHERE workspace_id = $1 AND id = $2 AND purged_at IS NULL"

LEDGER_ALL: Final = """
    SELECT b.run_id, b.batch_id, b.seq, b.points, b.digest, r.stop_requested
    FROM unnest($1::uuid[], $2::text[]) AS given(run_id, batch_id)
    JOIN metric_batches b ON b.run_id = given.run_id AND b.batch_id = given.batch_id
    JOIN runs r ON r.id = b.run_id
"""

SUMMARIES_OF_ALL: Final = f"""
    SELECT m.run_id, {_SUMMARY}
    FROM unnest($1::uuid[], $2::text[]) AS given(run_id, name)
    JOIN metric_summaries m ON m.run_id = given.run_id AND m.key = given.name
"""  # noqa: S608 - constant

COUNT_KEYS_OF_ALL: Final = """
    SELECT run_id, count(*) AS keys FROM metric_summaries WHERE run_id = ANY($1::uuid[]) GROUP BY run_id
"""

# The runs, the batches, the heads and the summaries of a group in one round trip.
APPEND_ALL: Final = f"""
    WITH touched AS ({TOUCH}), batches AS (
        INSERT INTO metric_batches (run_id, seq, batch_id, digest, points, payload, created_at)
        SELECT * FROM unnest(
            $3::uuid[], $4::int8[], $5::text[], $6::bytea[], $7::int4[], $8::bytea[], $9::timestamptz[]
        )
    ), heads AS (
        UPDATE run_heads h SET
            metric_seq = moved.seq, points = h.points + moved.points, last_step = GREATEST(h.last_step, moved.last_step)
        FROM unnest($10::uuid[], $11::int8[], $12::int8[], $13::int8[]) AS moved(run_id, seq, points, last_step)
        WHERE h.run_id = moved.run_id
    )
    INSERT INTO metric_summaries (run_id, {_SUMMARY})
    SELECT * FROM unnest(
        $14::uuid[], $15::text[], $16::float8[], $17::int8[], $18::float8[], $19::float8[], $20::float8[],
        $21::int8[], $22::int8[]
    )
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
