"""The statements that seal metrics."""

from __future__ import annotations

from typing import Final

# $1: ended runs are due when they ended before it, $2: batches of live ones when they came before it, or with more than
# $9 unsealed points before $10. $3: how many such batches, or $4: points and $8: points per key, make it worth while;
# $5: runs to leave out, $6: how runs end, $7: most to answer.
DUE: Final = """
    SELECT r.id, r.status = ANY($6::text[]) AS ended
    FROM run_heads h JOIN runs r ON r.id = h.run_id CROSS JOIN LATERAL (
        SELECT GREATEST(h.sealed_seq, h.weighed_seq) AS seq,
               CASE WHEN h.points - h.sealed_points > $9 THEN $10::timestamptz ELSE $2::timestamptz END AS cutoff
    ) known
    WHERE h.metric_seq > known.seq AND r.purged_at IS NULL AND r.id <> ALL($5::uuid[])
      AND CASE WHEN r.status = ANY($6::text[]) THEN COALESCE(r.ended_at < $1, true) ELSE
          EXISTS (
              SELECT 1 FROM metric_batches b
              WHERE b.run_id = r.id AND b.seq = known.seq + 1 AND b.created_at < known.cutoff
          ) AND (
              SELECT count(*) >= $3 OR sum(b.points) >= GREATEST(
                  $4, $8 * (SELECT count(*) FROM metric_summaries m WHERE m.run_id = r.id)
              ) FROM metric_batches b
              WHERE b.run_id = r.id AND b.seq > known.seq AND b.seq <= known.seq + $3 AND b.created_at < known.cutoff
          ) END
    LIMIT $7
"""
# The head of a run and its first unsealed batches, in one snapshot: until they hold $2 points, at most $3.
UNSEALED: Final = """
    SELECT h.sealed_seq, h.points - h.sealed_points AS unsealed, b.seq, b.batch_id, b.points, b.payload, b.created_at
    FROM run_heads h CROSS JOIN LATERAL (
        SELECT seq, batch_id, points, payload, created_at FROM (
            SELECT seq, batch_id, points, payload, created_at,
                   sum(points) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - points AS before
            FROM metric_batches WHERE run_id = $1 AND seq > h.sealed_seq ORDER BY seq LIMIT $3
        ) following WHERE before < $2
    ) b
    WHERE h.run_id = $1
    ORDER BY b.seq
"""
LATEST: Final = """
    SELECT c.* FROM unnest($2::text[]) AS wanted (key) CROSS JOIN LATERAL (
        SELECT id, key, first_point, points, first_seq FROM metric_chunks
        WHERE run_id = $1 AND key = wanted.key ORDER BY first_point DESC LIMIT $3
    ) c
    ORDER BY c.key, c.first_point DESC
"""
PAYLOADS: Final = "SELECT id, last_seq, payload FROM metric_chunks WHERE id = ANY($1::int8[])"
LOCK: Final = """
    SELECT h.sealed_seq FROM run_heads h JOIN runs r ON r.id = h.run_id
    WHERE h.run_id = $1 AND r.purged_at IS NULL FOR UPDATE OF h
"""
# Rows of batches that no client named, once the server itself does not try to store them any more.
FORGET: Final = """
    DELETE FROM metric_batches
    WHERE run_id = $1 AND seq > $2 AND seq <= $3 AND starts_with(batch_id, $4) AND created_at < $5
"""
EMPTY: Final = "UPDATE metric_batches SET payload = NULL WHERE run_id = $1 AND seq > $2 AND seq <= $3"
ADVANCE: Final = """
    UPDATE run_heads SET sealed_seq = $2, weighed_seq = GREATEST(weighed_seq, $2), sealed_points = sealed_points + $3
    WHERE run_id = $1
"""
WEIGHED: Final = "UPDATE run_heads SET weighed_seq = $2 WHERE run_id = $1 AND sealed_seq = $3 AND weighed_seq < $2"
COLUMNS: Final = (
    "run_id",
    "key",
    "first_point",
    "points",
    "first_seq",
    "last_seq",
    "first_step",
    "last_step",
    "coarse",
    "fine",
    "times",
    "payload",
)
