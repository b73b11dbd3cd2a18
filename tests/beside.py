"""A contender that computes in this process: what cells do with it, without waiting for one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest

from harness.spec import Case
from harness.speed import apart
from harness.speed.apart import Apart, Host
from harness.speed.exchange import Exchange
from harness.speed.inside import answered, inside_of
from harness.system.former_child import Died


@dataclass(eq=False)
class InThisProcess:
    """Takes the place of the process at the other end of the pipe."""

    case: Case
    host: Host
    exchange: Exchange

    def __post_init__(self) -> None:
        self.inside = inside_of(self.case, self.host.find, self.exchange)
        self.said: list[str] = []
        self.process = self

    @property
    def pid(self) -> int:
        return 2**30  # of nobody

    def say(self, message: list[Any]) -> None:
        order, *given = json.loads(json.dumps(message))
        try:
            self.said.append(json.dumps(answered(self.inside, order, given)))
        except SystemExit as end:
            self.said.append(str(end))

    def hear(self, patience: float) -> object:
        text = self.said.pop()
        try:
            return json.loads(text)
        except ValueError:
            raise Died(f"the process that measured it ended with exit code {text}") from None

    def spoke(self, patience: float) -> bool:
        return True

    def signal(self, number: int) -> None:
        return

    def end(self) -> None:
        return


def plant(monkeypatch: pytest.MonkeyPatch) -> list[Apart]:
    """Has all contenders compute in this process; those that were started, as they come."""
    started: list[Apart] = []

    def start(case: Case, host: Host) -> Apart:
        exchange = Exchange.made()
        child = InThisProcess(case, host, exchange)
        started.append(Apart(host, cast(Any, child), exchange, TemporaryDirectory()))
        return started[-1]

    monkeypatch.setattr(apart.Apart, "start", start)
    return started
