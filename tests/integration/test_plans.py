"""Ways that PostgreSQL takes to single runs, in tables that were not analysed since they were empty.

A plan that a connection keeps from then on must stay a good one when thousands of runs have been made since.
"""

from __future__ import annotations

import re

import asyncpg
import pytest

from domain.access import Scope
from persistence import run_writes
from persistence.metrics import sql
from tests.support.tracking import Tracking

STATEMENTS = {
    "writing to known runs": sql.APPEND_KNOWN,
    "touching runs": run_writes.TOUCH,
}


@pytest.mark.parametrize("what", STATEMENTS)
async def test_writers_find_their_runs_by_id(what: str, database_url: str, tracking: Tracking, scope: Scope) -> None:
    for _ in range(3):
        await tracking.runs.create(scope)
    statement = STATEMENTS[what]
    given = {int(number): kind for number, kind in re.findall(r"\$(\d+)(::\w+\[\])?", statement)}
    values = ", ".join("'{}'" if given[number] else "now()" for number in sorted(given))
    connection = await asyncpg.connect(database_url, statement_cache_size=0)
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE asked AS {statement}")
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE asked({values})"))
    finally:
        await connection.close()
    assert "runs_pkey" in plan, plan
    assert "Seq Scan on runs" not in plan, plan
    assert not set(re.findall(r"\bruns_\w+", plan)) - {"runs_pkey"}, plan
