"""Drawing series from what is stored: levels of chunks where they suffice, points where they are needed, and the tail.

Computes only; what else must be read is said by `wanted` and handed in by `take`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from asyncpg import Record

from domain import ids
from domain.metrics import Column, MetricSeries, RunSeries, SeriesAxis, SeriesRequest, joined
from domain.metrics.pyramid import Group, Level, arranged, draw_levels, in_time, too_coarse, windowed, within
from domain.metrics.series import shared_out, window_bounds
from persistence.metrics import read_sql as sql
from persistence.metrics.chunks import unpack_level, unpack_points
from persistence.metrics.codec import decode
from persistence.metrics.rows import milliseconds


@dataclass(slots=True)
class _Piece:
    """Consecutive points of a key: a chunk in one of its forms, or (id 0) what is not sealed yet."""

    id: int
    kind: int
    first_step: int
    last_step: int
    data: bytes | None = None
    column: Column | None = None
    level: Level | None = None

    def take(self, kind: int, data: bytes) -> None:
        """Another form of the same points."""
        self.kind, self.data, self.level = kind, data, None

    def points(self, key: str) -> Column:
        """All points; the piece must have them."""
        if self.column is None:
            self.column = unpack_points(key, self.data or b"")
        return self.column

    def drawn(self, key: str, *, timed: bool) -> Level:
        """Its level as it is now."""
        if self.level is None:
            if self.kind == sql.POINTS:
                self.level = Level.of(self.points(key), timed=timed)
            else:
                self.level = unpack_level(self.data or b"", timed=timed)
        return self.level


_Part: TypeAlias = tuple[tuple[int, ...], Level | None]


@dataclass(slots=True)
class _Sketch:
    """A series in the making; `wanted` are the forms of chunks it needs first. None when the window has no point."""

    key: str
    pieces: list[_Piece]
    request: SeriesRequest
    began: int
    done: bool = False
    series: MetricSeries | None = None
    wanted: dict[int, int] = field(default_factory=dict)
    cut: dict[tuple[int, ...], Level | None] = field(default_factory=dict)

    def advance(self) -> None:
        """Draws, or says what is missing."""
        self.wanted = {}
        parts = self._by_time() if self._timed else self._by_step()
        if self.wanted:
            return
        levels = [level for _, level in parts if level is not None]
        drawn = draw_levels(self.key, levels, self.request.points) if levels else None
        if not isinstance(drawn, int):
            self.done, self.series = True, drawn
            self.pieces, self.cut = [], {}
            return
        for places, level in parts:
            if level is not None and too_coarse(level, drawn):
                piece = self.pieces[places[0]]
                self.wanted[piece.id] = sql.FINE if piece.kind == sql.COARSE else sql.POINTS

    @property
    def _timed(self) -> bool:
        return self.request.axis is not SeriesAxis.STEP

    def _by_step(self) -> list[_Part]:
        """The pieces that the window takes in, as far as nothing is wanted."""
        parts: list[_Part] = []
        for group in self._arranged(self.request):
            level = self._whole(group.places[0]) if group.whole else self._points(group.places)
            parts.append((group.places, level))
        return parts

    def _by_time(self) -> list[_Part]:
        groups = self._arranged(SeriesRequest())
        levels = [
            self._whole(group.places[0]) if group.whole else self._points(group.places, cut=False) for group in groups
        ]
        known = [level for level in levels if level is not None]
        if self.wanted:
            return []
        low, high = window_bounds(self.request, self.began)
        parts: list[_Part] = []
        for together in in_time(known):
            first = int(known[together[0]].timestamps[0])
            last = max(int(known[each].timestamps[-1]) for each in together)
            if first > high or last < low:
                continue
            places = tuple(sorted(place for each in together for place in groups[each].places))
            untouched = len(together) == 1 and low <= first and last <= high
            parts.append((places, known[together[0]] if untouched else self._points(places)))
        return parts

    def _arranged(self, request: SeriesRequest) -> list[Group]:
        return arranged([(piece.first_step, piece.last_step) for piece in self.pieces], request)

    def _whole(self, place: int) -> Level:
        return self.pieces[place].drawn(self.key, timed=self._timed)

    def _points(self, places: tuple[int, ...], *, cut: bool = True) -> Level | None:
        """The points of several pieces, but for `cut=False` only those in the window; None without one.

        Also None when they are wanted first.
        """
        pieces = [self.pieces[place] for place in places]
        lacking = {piece.id: sql.POINTS for piece in pieces if piece.kind != sql.POINTS}
        if lacking:
            self.wanted.update(lacking)
            return None
        known = (*places, cut)
        if known not in self.cut:
            column = joined([piece.points(self.key) for piece in pieces])
            if not self._timed:
                self.cut[known] = within(column, self.request)
            else:
                level = Level.of(column, timed=True)
                self.cut[known] = windowed(level, window_bounds(self.request, self.began)) if cut else level
        return self.cut[known]


class Drawing:
    """The series of several runs, from the rows of `sql.SERIES`."""

    def __init__(self, run_ids: Sequence[str], rows: Sequence[Record], request: SeriesRequest) -> None:
        self._seqs = dict.fromkeys(run_ids, 0)
        self._sketches: dict[str, list[_Sketch]] = {}
        by_run: dict[str, list[Record]] = {}
        for row in rows:
            by_run.setdefault(ids.from_uuid("run", row["run_id"]), []).append(row)
        pieces = {run_id: self._pieces(run_id, of_run) for run_id, of_run in by_run.items()}
        runs = sum(map(bool, pieces.values()))
        for run_id, by_key in pieces.items():
            shared = shared_out(request, len(by_key) * runs)
            began = milliseconds(by_run[run_id][0]["began"])
            self._sketches[run_id] = [_Sketch(key, by_key[key], shared, began) for key in sorted(by_key)]

    def _pieces(self, run_id: str, rows: Sequence[Record]) -> dict[str, list[_Piece]]:
        (head,) = (row for row in rows if row["kind"] == sql.HEAD)
        self._seqs[run_id] = head["place"]
        by_key: dict[str, list[_Piece]] = {}
        tail: dict[str, list[Column]] = {}
        keys = None if head["keys"] is None else frozenset(head["keys"])
        for row in rows:
            if row["kind"] == sql.BATCH:
                for column in decode(row["data"], keys):
                    tail.setdefault(column.key, []).append(column)
            elif row["kind"] != sql.HEAD:
                piece = _Piece(row["id"], row["kind"], row["first_step"], row["last_step"], row["data"])
                by_key.setdefault(row["key"], []).append(piece)
        for key, parts in tail.items():
            column = joined(parts)
            bounds = int(column.steps.min()), int(column.steps.max())
            by_key.setdefault(key, []).append(_Piece(0, sql.POINTS, *bounds, column=column))
        return by_key

    @property
    def wanted(self) -> dict[int, int]:
        """The ids of chunks that are needed in another form, and which."""
        return {
            id_: kind for sketches in self._sketches.values() for each in sketches for id_, kind in each.wanted.items()
        }

    def take(self, rows: Iterable[Record]) -> None:
        """What was wanted."""
        data = {row["id"]: row["data"] for row in rows}
        for sketches in self._sketches.values():
            for sketch in sketches:
                for piece in sketch.pieces:
                    if piece.id in sketch.wanted:
                        piece.take(sketch.wanted[piece.id], data[piece.id])

    def advance(self) -> None:
        """Draws what can be drawn."""
        for sketches in self._sketches.values():
            for sketch in sketches:
                if not sketch.done:
                    sketch.advance()

    def series(self) -> dict[str, RunSeries]:
        """The series that have points in the window, for every run, once nothing is wanted."""
        return {
            run_id: RunSeries([each.series for each in self._sketches.get(run_id, ()) if each.series], seq)
            for run_id, seq in self._seqs.items()
        }
