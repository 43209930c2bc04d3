"""`python -m benchmarks`: measures, step by step, and prints one table.

Each step runs one server on a fresh database and ends it. With `--json FILE` the results are saved after each step, and
`--resume` leaves out what the file already holds. Ctrl-C and SIGTERM stop everything that was started.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import access, artifacts, ingest, limits, live, reads, report
from benchmarks.client import Drivers
from benchmarks.report import Results
from benchmarks.servers import Databases, folder
from benchmarks.session import FULL_SIZES, QUICK_SIZES, Session, Sizes
from benchmarks.systems import MLFLOW, OURS, SYSTEMS

SUBJECTS = ("limits", "ingest", "reads", "artifacts", "live", "access")
Step = Callable[[Session], Coroutine[Any, Any, None]]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="AxonML and MLflow, side by side.")
    parser.add_argument("--only", nargs="+", choices=SUBJECTS, help="these subjects instead of all")
    parser.add_argument("--systems", nargs="+", choices=[system.name for system in SYSTEMS], help="these systems")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small sizes, two minutes: shows that it works")
    size.add_argument("--full", action="store_true", help="also 30,000 runs × 50 metrics and 10 M points, ours only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="save the results there after each step")
    parser.add_argument("--resume", action="store_true", help="leave out the steps that FILE already holds")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    if options.resume and options.json is None:
        parser.error("--resume needs --json FILE")
    return options


def _sizes(options: argparse.Namespace) -> Sizes:
    if options.quick:
        return QUICK_SIZES
    if options.full:
        return replace(FULL_SIZES, long_series=(1_000_000, 10_000_000), big_search=(30_000, 50), step_limit=1200)
    return FULL_SIZES


def _steps(options: argparse.Namespace) -> list[tuple[str, Step]]:
    """All steps in their order: what needs the quietest machine first."""
    subjects, names = options.only or SUBJECTS, options.systems or [system.name for system in SYSTEMS]
    systems = [system for system in SYSTEMS if system.name in names]
    steps: list[tuple[str, Step]] = []
    if "limits" in subjects:
        steps += [("limits: echo", limits.bare), ("limits: copy", limits.copy)]
    if "ingest" in subjects:
        steps += [(f"ingest: {one.name}", partial(ingest.measure, system=one)) for one in systems]
    if "reads" in subjects:
        steps += [(f"reads: {one.name}", partial(reads.measure, system=one)) for one in systems]
        steps += [
            (f"reads: large: {one.name}", partial(reads.measure_large, system=one))
            for one in (OURS, MLFLOW)
            if one in systems
        ]
    if "artifacts" in subjects:
        steps.append(("artifacts: copy", artifacts.copied))
        steps += [(f"artifacts: {one.name}", partial(artifacts.measure, system=one)) for one in systems]
    if "live" in subjects and OURS in systems:
        steps.append(("live", partial(live.measure, system=OURS)))
    if "access" in subjects and OURS in systems:
        steps.append(("access", access.measure))
    return steps


async def _measure(options: argparse.Namespace, place: Path, drivers: Drivers) -> tuple[Results, list[str]]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    sizes = _sizes(options)
    results = Results(options.json, resume=options.resume)
    databases = Databases(place)
    failed = []
    await databases.start()
    try:
        session = Session(place, databases, drivers, sizes, results)
        if not results.facts:
            results.facts = report.facts(await databases.version(), sizes.text())
        steps = [step for step in _steps(options) if step[0] not in results.done]
        if any(name != "live" for name, _ in steps):
            steps.insert(0, ("client", limits.calibrate))  # also of the rest after an interruption
        for name, step in steps:
            print(f"{name} …", file=sys.stderr, flush=True)
            began = time.monotonic()
            try:
                await _bounded(step(session), sizes.step_limit)
            except Exception as error:  # noqa: BLE001 - the other steps are still wanted; this one is reported
                failed.append(f"{name}: {_reason(error, sizes.step_limit)}")
                notes = "\n".join(getattr(error, "__notes__", ()))
                print(f"  FAILED {failed[-1]}\n{notes}", file=sys.stderr, flush=True)
                results.save()
            else:
                results.step_done(name, time.monotonic() - began)
    finally:
        await databases.stop()
    return results, failed


async def _bounded(step: Coroutine[Any, Any, None], limit: float) -> None:
    """The step, in a task of its own, which is cancelled and waited for after `limit` seconds. Raises TimeoutError."""
    task = asyncio.create_task(step)
    try:
        await asyncio.wait({task}, timeout=limit)
        if not task.done():
            raise TimeoutError
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    task.result()


def _reason(error: BaseException, limit: float) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, TimeoutError):
        return f"not done within {limit:g} s"
    return f"{type(error).__name__}: {error}"


def main() -> int:
    """Exit status 0: everything was measured; 1: a step failed, named below the table; 130: interrupted."""
    options = _options()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # also while leftovers are removed
    drivers = Drivers()
    began = time.monotonic()
    try:
        with folder() as place:
            results, failed = asyncio.run(_measure(options, place, drivers))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("interrupted", file=sys.stderr)
        return 130
    finally:
        drivers.close()
    results.facts["took"] = f"{(time.monotonic() - began) / 60:.1f} minutes"
    results.save()
    if options.markdown:
        print(report.markdown(results), end="")
    else:
        report.print_table(results)
    for problem in failed:
        print(f"FAILED {problem}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
