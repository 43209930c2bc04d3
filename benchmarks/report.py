"""What was measured, kept as rows, saved after each step, and printed as one table with the facts of the machine."""

from __future__ import annotations

import math
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Literal

import orjson
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.servers import PEERS, REPOSITORY

Better = Literal["high", "low"]
COLUMNS: Final = {
    "axonml": "AxonML",
    "mlflow": "MLflow",
    "mlflow-1": "MLflow 1 worker",
    "limit": "limit",
}
GROUPS: Final = (
    "ingest, one object per point",
    "ingest, columns",
    "ingest, single points",
    "run creation",
    "search",
    "series",
    "live, 10 batches/s of one run over WebSocket",
    "files of models",
    "disk",
    "server memory",
    "proof of who asks",
    "flood of logins",
    "physical limits",
)
_PEERS: Final = ("mlflow", "mlflow-1")


@dataclass(frozen=True, slots=True)
class Goal:
    """What AxonML is to reach: so many times the better MLflow, or a bound on its own value."""

    times: float | None = None
    bound: float | None = None

    def text(self, better: Better) -> str:
        """For the table."""
        if self.times is not None:
            return f"≥ {self.times:g} ×"
        return f"{'≤' if better == 'low' else '≥'} {self.bound:g}"

    def met(self, row: Row) -> bool | None:
        """Whether it was reached; None when it cannot be said."""
        ours = row.values.get("axonml")
        if ours is None or math.isnan(ours):
            return None
        if self.times is not None:
            times = row.times()
            return None if times is None else times >= self.times
        assert self.bound is not None
        return ours <= self.bound if row.better == "low" else ours >= self.bound


@dataclass(slots=True)
class Row:
    """One line: the same thing measured on each system. `notes` say what a reader must know of a value."""

    group: str
    name: str
    unit: str
    better: Better = "high"
    goal: Goal | None = None
    values: dict[str, float] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    details: dict[str, dict[str, float]] = field(default_factory=dict)

    def times(self) -> float | None:
        """How many times better AxonML is than the better MLflow; None when either is missing."""
        ours = self.values.get("axonml")
        theirs = [self.values[name] for name in _PEERS if name in self.values]
        if not ours or not theirs or any(map(math.isnan, (ours, *theirs))):
            return None
        if self.better == "high":
            return ours / max(theirs) if max(theirs) else None
        return min(theirs) / ours


class Results:
    """The rows so far, and which steps are done; saved to a file after each step when there is one."""

    def __init__(self, path: Path | None, *, resume: bool) -> None:
        self._path = path
        self.rows: list[Row] = []
        self.done: dict[str, float] = {}
        self.facts: dict[str, str] = {}
        if resume and path is not None and path.exists():
            document = orjson.loads(path.read_bytes())
            self.done, self.facts = document["done"], document["facts"]
            for row in document["rows"]:
                goal = Goal(**row.pop("goal")) if row.get("goal") else row.pop("goal", None)
                values = {name: float("nan") if value is None else value for name, value in row.pop("values").items()}
                self.rows.append(Row(**row, goal=goal, values=values))

    def row(self, group: str, name: str, unit: str, better: Better = "high", goal: Goal | None = None) -> Row:
        """The line of that name, made when it is new."""
        for row in self.rows:
            if (row.group, row.name) == (group, name):
                row.goal = row.goal or goal
                return row
        self.rows.append(Row(group, name, unit, better, goal))
        return self.rows[-1]

    def step_done(self, step: str, seconds: float) -> None:
        """Remembers that a step is complete, and saves."""
        self.done[step] = round(seconds, 1)
        self.save()

    def save(self) -> None:
        """Writes the file, whole or not at all."""
        if self._path is None:
            return
        document = {"facts": self.facts, "done": self.done, "rows": [asdict(row) for row in self.rows]}
        partial = self._path.with_name(self._path.name + ".partial")
        partial.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        partial.replace(self._path)


def facts(postgres: str, options: str) -> dict[str, str]:
    """The machine, the versions, the date and the command."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
        "sizes": options,
        "CPU": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} of {os.cpu_count()} logical cores usable",
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "Python": platform.python_version(),
        "AxonML": f"{version('axonml')} {_commit()}".strip(),
        "MLflow": _peer_version("mlflow"),
        "PostgreSQL": f"{postgres}, as AxonML bundles and sets it (fsync and synchronous_commit on)",
        "uvicorn": f"{version('uvicorn')} (AxonML, echo), {_peer_version('uvicorn')} (MLflow)",
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    asked = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty"]
    found = subprocess.run(asked, capture_output=True, text=True, check=False)
    return f"({found.stdout.strip()})" if found.returncode == 0 else ""


def _peer_version(name: str) -> str:
    for info in PEERS.parent.glob(f"lib/python*/site-packages/{name}-*.dist-info"):
        return info.name.removesuffix(".dist-info").partition("-")[2]
    return "not installed"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if math.isnan(value):
        return "failed"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _lines(rows: Iterable[Row], footnotes: list[str]) -> Iterable[tuple[str, list[str]]]:
    """Group and cells of each row; the notes of its values become footnotes."""
    for row in sorted(rows, key=lambda row: GROUPS.index(row.group)):
        cells = [row.name, row.unit]
        for column in COLUMNS:
            cell = _number(row.values.get(column))
            if note := row.notes.get(column):
                if note not in footnotes:
                    footnotes.append(note)
                cell = f"{cell} [{footnotes.index(note) + 1}]".strip()
            cells.append(cell)
        times = row.times()
        cells.append("" if times is None else f"{_number(times)} ×")
        met = row.goal.met(row) if row.goal is not None else None
        cells.append("" if row.goal is None else f"{row.goal.text(row.better)} {_MET[met]}")
        yield row.group, cells


_MET: Final = {True: "reached", False: "missed", None: "?"}
_HEAD: Final = ["", "unit", *COLUMNS.values(), "AxonML : MLflow", "goal"]
_EXPLAINED: Final = (
    "AxonML : MLflow: how many times better AxonML is than the better of the two MLflow servers. limit: what the"
    " machine gives without either product (see the README of the benchmarks)."
)


def print_table(results: Results) -> None:
    """The table on the terminal."""
    footnotes: list[str] = []
    table = Table(*_HEAD, title="AxonML and MLflow, measured one after the other", title_justify="left")
    for column in table.columns[2:]:
        column.justify = "right"
    group = ""
    for name, cells in _lines(results.rows, footnotes):
        if name != group:
            group = name
            table.add_section()
            table.add_row(f"[bold]{group}[/bold]")
        table.add_row(*(cell.replace("[", "\\[") for cell in cells))
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for number, note in enumerate(footnotes, 1):
        console.print(f"[{number}] {note}", markup=False, highlight=False)
    console.print(_EXPLAINED, highlight=False)
    for key, value in results.facts.items():
        console.print(f"{key:>12}  {value}", markup=False, highlight=False)


def markdown(results: Results) -> str:
    """The table as Markdown, with the facts before it."""
    footnotes: list[str] = []
    text = [f"- {key}: {f'`{value}`' if key == 'command' else value}" for key, value in results.facts.items()]
    group = ""
    for name, cells in _lines(results.rows, footnotes):
        if name != group:
            group = name
            text += ["", f"## {group}", "", f"| {' | '.join(_HEAD)} |", "|---|---|" + "---:|" * (len(_HEAD) - 2)]
        text.append(f"| {' | '.join(cells)} |")
    text += ["", _EXPLAINED]
    text += [f"\n[{number}] {note}" for number, note in enumerate(footnotes, 1)]
    return "\n".join(text) + "\n"


def rounded(**details: float) -> dict[str, float]:
    """Details of a value, for the file."""
    return {name: round(value, 4) for name, value in details.items()}


def document(results: Results) -> dict[str, Any]:
    """Everything, for other programs."""
    return {"facts": results.facts, "rows": [asdict(row) for row in results.rows]}
