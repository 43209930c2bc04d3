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

_BATCHES: Final = "run_id, seq, batch_id, digest, points, payload, created_at"


def _batches(first: int) -> str:
    """The columns of `Plan.batches`, from that parameter on."""
    types = ("uuid[]", "int8[]", "text[]", "bytea[]", "int4[]", "bytea[]", "timestamptz[]")
    return f"unnest({', '.join(f'${first + place}::{kind}' for place, kind in enumerate(types))}) AS b({_BATCHES})"


def _summaries(first: int) -> str:
    """The columns of `Plan.summaries`, from that parameter on."""
    types = ("uuid[]", "text[]", "float8[]", "int8[]", "float8[]", "float8[]", "float8[]", "int8[]", "int8[]")
    given = ", ".join(f"${first + place}::{kind}" for place, kind in enumerate(types))
    return f"unnest({given}) AS s(run_id, {_SUMMARY})"


_REPLACE: Final = """
    ON CONFLICT (run_id, key) DO UPDATE SET
        last_value = EXCLUDED.last_value, last_step = EXCLUDED.last_step, min_value = EXCLUDED.min_value,
        max_value = EXCLUDED.max_value, mean_value = EXCLUDED.mean_value, count = EXCLUDED.count,
        non_finite = EXCLUDED.non_finite
"""

# The runs, the batches, the heads and the summaries of a group whose heads are locked, in one round trip.
APPEND_ALL: Final = f"""
    WITH touched AS ({TOUCH}), batches AS (
        INSERT INTO metric_batches ({_BATCHES}) SELECT * FROM {_batches(7)}
    ), heads AS (
        UPDATE run_heads h SET
            metric_seq = moved.seq, points = h.points + moved.points, last_step = moved.last_step
        FROM unnest($3::uuid[], $4::int8[], $5::int8[], $6::int8[]) AS moved(run_id, seq, points, last_step)
        WHERE h.run_id = moved.run_id
    )
    INSERT INTO metric_summaries (run_id, {_SUMMARY}) SELECT * FROM {_summaries(14)}
    {_REPLACE}
"""  # noqa: S608 - constant

# The same for runs as they were left by the last commit ($4, $5), locked here: it writes to those that still are as
# they were, and answers which. Whoever is locked by somebody else is left out, so nobody waits. What changes while a
# row is being locked is compared again, and the sequence number moves with everything that is kept of metrics.
APPEND_KNOWN: Final = f"""
    WITH locked AS (
        SELECT h.run_id, r.stop_requested, known.seq, known.points, known.last_step
        FROM unnest($2::uuid[], $3::uuid[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[])
            AS known(run_id, workspace_id, stored, stored_step, seq, points, last_step)
        JOIN run_heads h ON h.run_id = known.run_id
        JOIN runs r ON r.id = known.run_id
        WHERE r.workspace_id = known.workspace_id AND r.status = 'running'
            AND r.archived_at IS NULL AND r.purged_at IS NULL
            AND h.metric_seq = known.stored AND h.last_step IS NOT DISTINCT FROM known.stored_step
        ORDER BY h.run_id
        FOR UPDATE OF h SKIP LOCKED FOR NO KEY UPDATE OF r SKIP LOCKED
    ), touched AS (
        UPDATE runs r SET last_activity_at = GREATEST(r.last_activity_at, $1) FROM locked WHERE r.id = locked.run_id
    ), heads AS (
        UPDATE run_heads h SET
            metric_seq = locked.seq, points = h.points + locked.points, last_step = locked.last_step
        FROM locked WHERE h.run_id = locked.run_id
    ), batches AS (
        INSERT INTO metric_batches ({_BATCHES})
        SELECT b.* FROM {_batches(9)} WHERE b.run_id IN (SELECT run_id FROM locked)
    ), summaries AS (
        INSERT INTO metric_summaries (run_id, {_SUMMARY})
        SELECT s.* FROM {_summaries(16)} WHERE s.run_id IN (SELECT run_id FROM locked)
        {_REPLACE}
    )
    SELECT run_id, stop_requested FROM locked
"""  # noqa: S608 - constant
