"""Compares the skipped tests of a run with the committed list; a skip nobody agreed to fails the run.

Each line of the list is a test id (shell wildcards allowed) and, after `#`, why it may be skipped.
"""

from __future__ import annotations

import fnmatch
from pathlib import Path

import pytest

_LIST = Path(__file__).parent.parent / "skips.txt"


class SkipGuard:
    """A pytest plugin of the controlling process."""

    def __init__(self) -> None:
        lines = (line.partition("#")[0].strip() for line in _LIST.read_text("utf-8").splitlines())
        # `[` starts a character class for fnmatch, but a parameter for pytest.
        self._allowed = [line.replace("[", "[[]") for line in lines if line]
        self._unexpected: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            self._note(report.nodeid, report.longrepr)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._note(report.nodeid, report.longrepr)

    def _note(self, test: str, reason: object) -> None:
        if not any(fnmatch.fnmatchcase(test, pattern) for pattern in self._allowed):
            self._unexpected[test] = str(reason[2]) if isinstance(reason, tuple) else str(reason)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._unexpected and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._unexpected:
            terminalreporter.section("skips that tests/skips.txt does not allow", red=True)
            for test, reason in sorted(self._unexpected.items()):
                terminalreporter.line(f"{test}: {reason}")
