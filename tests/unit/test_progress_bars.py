"""Progress bars in logs: whatever is sent in whatever batches, what is left is what a terminal would show."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import logs
from domain.logs import LogLevel, LogLine, Unfinished

NOW = datetime(2026, 1, 1, tzinfo=UTC)
INFO, ERROR = LogLevel.INFO, LogLevel.ERROR
Messages = list[tuple[str, LogLevel]]


class Terminal:
    """Writes over whole lines, character by character. The end of a message is the end of a line without a `\\r`."""

    def __init__(self) -> None:
        self.rows: list[str] = []
        self._row: str | None = None
        self._back = self._bar = False

    def show(self, message: str) -> None:
        self._bar = False
        for character in message.replace("\r\n", "\n") or "\n":
            if character == "\n":
                self._end()
            elif character == "\r":
                self._row, self._back, self._bar = self._row or "", True, True
            else:
                if self._back or self._row is None:
                    self._row = ""
                self._row, self._back = (self._row or "") + character, False
        if not self._bar and self._row is not None:
            self._end()

    def shown(self) -> list[str]:
        return self.rows if self._row is None else [*self.rows, self._row]

    def message(self, text: str) -> None:
        """A message that neither goes on with a bar nor writes over it begins a new line."""
        if self._bar and not self._back and not text.startswith(("\r", "\n")) and text:
            self._end()
        self.show(text)

    def _end(self) -> None:
        self.rows.append(self._row or "")
        self._row, self._back, self._bar = None, False, False


class Log:
    """What the store does with batches, in memory; and one who reads it live, now and then."""

    def __init__(self) -> None:
        self.lines: dict[int, LogLine] = {}
        self.followed: list[LogLine] = []
        self.seq = 0
        self._unfinished: dict[LogLevel, Unfinished] = {}

    def append(self, batch: Messages) -> None:
        draft = logs.draft((text, level, None) for text, level in batch)
        placed = logs.place(draft.lines, self.seq, self._unfinished)
        assert [each.seq for each in placed.lines] == list(range(self.seq + 1, self.seq + 1 + len(placed.lines)))
        for seq in placed.gone:
            del self.lines[seq]
        for each in placed.lines:
            self.lines[each.seq] = LogLine(each.seq, each.line.level, NOW, each.line.message, each.replaces)
        self.seq += len(placed.lines)
        self._unfinished = placed.unfinished
        assert self.seq == max(self.lines, default=0), "the newest place has its line"

    def read(self) -> None:
        """What a live reader is told, and shows: it takes lines away as `replaces` says."""
        place = self.followed[-1].seq if self.followed else 0
        self.followed = logs.newest([*self.followed, *(line for seq, line in self.lines.items() if seq > place)])


texts = st.sampled_from(["\r", "\n", "a\r", "\rb", "c"]) | st.text(alphabet="ab \r\r\n", max_size=6)
batches = st.lists(st.lists(st.tuples(texts, st.sampled_from([INFO, ERROR])), min_size=1, max_size=5), max_size=8)


@given(batches, st.lists(st.booleans(), min_size=8, max_size=8))
def test_what_is_left_is_what_a_terminal_shows(sent: list[Messages], reads: list[bool]) -> None:
    log, terminals = Log(), {INFO: Terminal(), ERROR: Terminal()}
    for batch, read in zip(sent, reads, strict=False):
        log.append(batch)
        for text, level in batch:
            terminals[level].message(text)
        if read:
            log.read()
    log.read()
    assert log.followed == list(log.lines.values())
    for level, terminal in terminals.items():
        assert [line.message for line in log.lines.values() if line.level is level] == terminal.shown()


@given(st.text(alphabet="ab\r\n", min_size=1, max_size=12), st.sets(st.integers(0, 11)))
def test_a_text_may_be_cut_behind_any_carriage_return(text: str, cuts: set[int]) -> None:
    places = [0, *sorted(n + 1 for n in cuts if n + 1 < len(text) and text[n] == "\r"), len(text)]
    whole, cut = Log(), Log()
    whole.append([(text, INFO)])
    for begin, end in pairwise(places):
        cut.append([(text[begin:end], INFO)])
    assert [line.message for line in cut.lines.values()] == [line.message for line in whole.lines.values()]


@pytest.mark.parametrize(
    ("messages", "left"),
    [
        (["1%\r", "2%\r", "3%\r"], ["3%"]),
        (["1%\r", "2%\r", "\n", "done"], ["2%", "done"]),
        (["1%\r", "done"], ["done"]),
        (["\r1%", "\r2%", "\n", "done\n"], ["2%", "done"]),
        (["\r1%", "\r2%", "done"], ["2%", "done"]),
        (["\r1%", "\r2%\n", "\r1%"], ["2%", "1%"]),
        (["\r1%", "\r", "done"], ["done"]),
        (["epoch 1", "\r1%"], ["epoch 1", "1%"]),
        (["a", "", "b"], ["a", "", "b"]),
    ],
)
@pytest.mark.parametrize("at_once", [True, False])
def test_bars_of_common_tools(messages: list[str], left: list[str], at_once: bool) -> None:
    log = Log()
    for batch in [messages] if at_once else [[message] for message in messages]:
        log.append([(message, INFO) for message in batch])
    assert [line.message for line in log.lines.values()] == left
