"""Asking every web worker for its figures. One that does not answer in time is left out, and so is a dead one."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

from domain.figures import ProcessFigures
from server.workers import messages

ANSWER_SECONDS: Final = 2.0


class Peer(Protocol):
    """A worker that is connected."""

    def send(self, message: messages.WantFigures) -> None: ...


class Gathering:
    """The questions that wait for their answers."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._asked: dict[tuple[int, Peer], asyncio.Future[ProcessFigures]] = {}

    async def ask(self, workers: Mapping[int, Peer]) -> list[ProcessFigures]:
        """The figures of workers by their number, in its order."""
        question = next(self._numbers)
        loop = asyncio.get_running_loop()
        answers = {number: loop.create_future() for number in sorted(workers)}
        for number, answer in answers.items():
            self._asked[question, workers[number]] = answer
            workers[number].send(messages.WantFigures(question))
        try:
            if answers:
                await asyncio.wait(answers.values(), timeout=ANSWER_SECONDS)
        finally:
            for number in answers:
                del self._asked[question, workers[number]]
        return [replace(answer.result(), worker=number) for number, answer in answers.items() if answer.done()]

    def answered(self, peer: Peer, question: int, figures: ProcessFigures) -> None:
        """A worker answered; nothing when nobody waits for it any more."""
        waiting = self._asked.get((question, peer))
        if waiting is not None and not waiting.done():
            waiting.set_result(figures)
