"""The statements of the metric store. `$1` of a read is the workspace: what lies outside it does not exist.

Keys are ordered by code point (COLLATE "C") on every database, so that pages and cursors agree with Python's order.
"""

from __future__ import annotations

from typing import Final

from persistence.run_writes import TOUCH

_SUMMARY: Final = "key, last_value, last_step, min_value, max_value, mean_value, count, non_finite"

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
