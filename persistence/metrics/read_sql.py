"""The statements that read metrics. `$1` is the workspace: what lies outside it does not exist.

Keys are ordered by code point (COLLATE "C") on every database, so that pages and cursors agree with Python's order.
"""

from __future__ import annotations

from typing import Final

_SUMMARY: Final = "key, last_value, last_step, min_value, max_value, mean_value, count, non_finite"

EXISTS: Final = "SELECT 1 FROM runs WHERE workspace_id = $1 AND id = $2 AND purged_at IS NULL"

SUMMARIES: Final = f"""
    SELECT r.id AS run_id, s.*
    FROM runs r CROSS JOIN LATERAL (
        SELECT {_SUMMARY} FROM metric_summaries m
        WHERE m.run_id = r.id AND (m.key = ANY($3) OR $3::text[] IS NULL AND starts_with(m.key, 'system/') = $5)
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
                 AND starts_with(m.key, 'system/') = $5
               ORDER BY m.key COLLATE "C" LIMIT $4
           ) AS keys,
           (SELECT count(*) FROM metric_summaries m WHERE m.run_id = r.id AND starts_with(m.key, 'system/') = $5)
               AS total
    FROM runs r
    WHERE r.workspace_id = $1 AND r.id = ANY($2::uuid[]) AND r.purged_at IS NULL
"""

# What the pieces of SERIES and MORE are.
HEAD, POINTS, FINE, COARSE, TIMES, BATCH = range(6)

# Of each run in one snapshot: its head, the chunks of the keys asked for and its unsealed batches. Keys are $3, or the
# first $4. A chunk comes as its coarsest level, with $5 as its level by time, or as its points; outside the steps $6 to
# $7 without any.
SERIES: Final = f"""
    SELECT r.id AS run_id, COALESCE(r.started_at, r.created_at) AS began, piece.*
    FROM runs r JOIN run_heads h ON h.run_id = r.id
    CROSS JOIN LATERAL (
        SELECT CASE WHEN $4::int8 IS NULL THEN $3::text[] ELSE ARRAY(
            SELECT m.key::text FROM metric_summaries m
            WHERE m.run_id = r.id AND starts_with(m.key, 'system/') = $8 ORDER BY m.key COLLATE "C" LIMIT $4
        ) END AS keys
    ) named
    CROSS JOIN LATERAL (
        SELECT {HEAD} AS kind, h.metric_seq AS place, named.keys, NULL::int8 AS id, NULL::text AS key,
               NULL::int8 AS first_step, NULL::int8 AS last_step, NULL::bytea AS data
        UNION ALL
        SELECT CASE WHEN $5 AND c.times IS NOT NULL THEN {TIMES} WHEN $5 OR c.fine IS NULL THEN {POINTS}
                    WHEN c.coarse IS NULL THEN {FINE} ELSE {COARSE} END,
               c.first_point, NULL, c.id, c.key, c.first_step, c.last_step,
               CASE WHEN c.last_step < $6 OR c.first_step > $7 THEN NULL
                    WHEN $5 THEN COALESCE(c.times, c.payload)
                    ELSE COALESCE(c.coarse, c.fine, c.payload) END
        FROM metric_chunks c WHERE c.run_id = r.id AND (
            c.key = ANY(named.keys) OR named.keys IS NULL AND starts_with(c.key, 'system/') = $8
        )
        UNION ALL
        SELECT {BATCH}, b.seq, NULL, NULL, NULL, NULL, NULL, b.payload
        FROM metric_batches b WHERE b.run_id = r.id AND b.seq > h.sealed_seq
    ) piece
    WHERE r.workspace_id = $1 AND r.id = ANY($2::uuid[]) AND r.purged_at IS NULL
    ORDER BY r.id, piece.place
"""  # noqa: S608 - constant

# Chunks by id, which never change: the points of those in $2, the finer level of the others.
MORE: Final = """
    SELECT id, CASE WHEN id = ANY($2::int8[]) THEN payload ELSE fine END AS data
    FROM metric_chunks WHERE id = ANY($1::int8[])
"""

# The state of a run and its next batches after $3 in one snapshot: until they hold $4 points, at least one, at most $5.
# None of them when some were sealed.
NEXT: Final = """
    SELECT r.status, r.stop_requested, h.metric_seq AS head, h.sealed_seq, b.seq, b.payload
    FROM runs r JOIN run_heads h ON h.run_id = r.id LEFT JOIN LATERAL (
        SELECT seq, payload FROM (
            SELECT seq, payload, sum(points) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - points AS before
            FROM metric_batches WHERE run_id = r.id AND seq > $3 AND h.sealed_seq <= $3 ORDER BY seq LIMIT $5
        ) following WHERE before < $4
    ) b ON true
    WHERE r.workspace_id = $1 AND r.id = $2 AND r.purged_at IS NULL
    ORDER BY b.seq
"""

# How far a run has come: its head, and how many points each key has.
COUNTS: Final = """
    SELECT h.metric_seq AS head, m.key, m.count
    FROM runs r JOIN run_heads h ON h.run_id = r.id
    LEFT JOIN metric_summaries m ON m.run_id = r.id AND ($3::text[] IS NULL OR m.key = ANY($3))
    WHERE r.workspace_id = $1 AND r.id = $2 AND r.purged_at IS NULL
"""

# The next chunks with points of batches after $3, behind the $5-th point of key $4: until they hold $6 points, at least
# one, at most $7. In the database's own order of keys, which the index has.
CHUNKS: Final = """
    SELECT key, first_point, points, payload FROM (
        SELECT c.key, c.first_point, c.points, c.payload,
               sum(c.points) OVER (ORDER BY c.key, c.first_point ROWS UNBOUNDED PRECEDING) - c.points AS before
        FROM runs r JOIN metric_chunks c ON c.run_id = r.id
        WHERE r.workspace_id = $1 AND r.id = $2 AND r.purged_at IS NULL AND c.last_seq > $3
          AND c.key >= $4 AND (c.key > $4 OR c.first_point + c.points > $5) AND ($8::text[] IS NULL OR c.key = ANY($8))
        ORDER BY c.key, c.first_point LIMIT $7
    ) following WHERE before < $6
    ORDER BY key, first_point
"""
