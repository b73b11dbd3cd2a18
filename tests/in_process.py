"""Contenders that compute in this process, so that tests need not wait for a start."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from harness.machine.child import Died
from harness.speed import contender, judge, worker
from harness.speed.worker import Worker


class InThisProcess:
    """Takes the place of a `Child`."""

    pid = 2**30  # of nobody
    worker: Worker | None = None
    ended = False

    def call(self, function: Callable[..., Any], *args: Any, silence: float) -> Any:
        if function is worker.make_worker:
            self.worker = Worker(args[0])
            return None
        assert self.worker is not None and not self.ended
        worker._workers[:] = [self.worker]
        try:
            value = function(args[0], *pickle.loads(pickle.dumps(args[1:])))
        except SystemExit as code:
            raise Died(f"its process ended with exit code {code}") from None
        return pickle.loads(pickle.dumps(value))

    def send(self, number: int) -> None: ...

    def end(self) -> None:
        self.ended = True


def plant(monkeypatch: pytest.MonkeyPatch) -> list[InThisProcess]:
    """Have all contenders compute in this process; return those that are started, as they come."""
    started: list[InThisProcess] = []

    def start(*setting: object, **settings: object) -> InThisProcess:
        started.append(InThisProcess())
        return started[-1]

    monkeypatch.setattr(contender, "Child", start)
    monkeypatch.setattr(judge, "AT_ONCE", 1)  # they share this process
    return started
