"""The protocol: who runs when. No test here measures speed."""

from __future__ import annotations

import random
from functools import partial
from itertools import islice
from pathlib import Path

import beside
import pytest
import torch
from test_schedule import measure

from harness.records import IterationRow
from harness.speed import cell, contenders, protocol
from harness.speed.apart import Apart
from harness.system import clock

CPU = torch.device("cpu")


def rounds_of(names: str, seed: int) -> tuple[list[dict[str, float]], list[str], list[str]]:
    """Eight rounds; who ran in which order, and who was announced."""
    ran: list[str] = []
    told: list[str] = []

    def turn(name: str) -> float:
        ran.append(name)
        return float(len(ran))

    contenders = {name: partial(turn, name) for name in names}
    measured = list(islice(protocol.rounds(contenders, random.Random(seed), told.append), 8))
    return measured, ran, told


def test_each_round_runs_every_contender_once_in_an_order_of_its_own() -> None:
    measured, ran, told = rounds_of("abcde", 0)
    orders = ["".join(ran[n : n + 5]) for n in range(0, 40, 5)]
    assert all(sorted(each) == list("abcde") for each in orders)
    assert len(set(orders)) > 4
    assert told == ran
    for n, each in enumerate(measured):  # the seconds are those that each one's turn gave
        assert each == {name: 5 * n + orders[n].index(name) + 1 for name in "abcde"}


def test_the_same_seed_gives_the_same_orders() -> None:
    assert rounds_of("abc", 7) == rounds_of("abc", 7)


def test_a_device_is_synchronised_on_both_sides(monkeypatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(clock, "synchronise", lambda device: events.append("synchronise"))
    clock.seconds(lambda: events.append("work"), CPU)
    assert events == ["synchronise", "work", "synchronise"]


def test_a_deadline_counts_down() -> None:
    deadline = clock.Deadline.after(100)
    assert 99 < deadline.left <= 100
    assert clock.Deadline.after(-1).left < 0


@pytest.mark.parametrize("rest", [-1.0, 1e9])
def test_contenders_run_untimed_before_a_round_that_comes_after_a_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: float
) -> None:
    beside.plant(monkeypatch)
    warmed: list[str] = []
    warm = contenders._warm

    def counted(apart: Apart) -> bool:
        assert isinstance(apart.child, beside.InThisProcess)
        warmed.append(apart.child.case.framework)
        return warm(apart)

    monkeypatch.setattr(contenders, "_warm", counted)
    monkeypatch.setattr(contenders, "WARM_SECONDS", 0.1)
    monkeypatch.setattr(cell, "REST_SECONDS", rest)
    rows = measure(tmp_path, "reference")
    rounds = max(row.round for row in rows if isinstance(row, IterationRow))
    assert rounds > 1
    times = rounds if rest < 0 else 1
    assert sorted(warmed) == sorted(["floor", "floor", "reference"] * times)
