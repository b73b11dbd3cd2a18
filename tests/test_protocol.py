"""The protocol: who runs when. No test here measures speed."""

from __future__ import annotations

import random
from itertools import islice

import pytest
import torch

from harness.speed import protocol
from harness.system import clock

CPU = torch.device("cpu")


def test_each_round_runs_every_contender_once_in_an_order_of_its_own() -> None:
    order: list[str] = []
    contenders = {name: lambda name=name: order.append(name) for name in "abcde"}
    rounds = list(islice(protocol.rounds(contenders, CPU, random.Random(0)), 8))
    assert all(sorted(measured) == list("abcde") for measured in rounds)
    ran = ["".join(order[n : n + 5]) for n in range(0, 40, 5)]
    assert all(sorted(each) == list("abcde") for each in ran)
    assert len(set(ran)) > 4


def test_the_same_seed_gives_the_same_orders() -> None:
    def orders() -> list[str]:
        order: list[str] = []
        contenders = {name: lambda name=name: order.append(name) for name in "abc"}
        list(islice(protocol.rounds(contenders, CPU, random.Random(7)), 5))
        return order

    assert orders() == orders()


def test_no_garbage_is_collected_while_a_contender_runs() -> None:
    import gc

    enabled: list[bool] = []
    contenders = {"a": lambda: enabled.append(gc.isenabled())}
    next(protocol.rounds(contenders, CPU, random.Random(0)))
    assert enabled == [False]
    assert gc.isenabled()


def test_garbage_collection_is_back_on_after_a_failure() -> None:
    import gc

    def fail() -> None:
        raise RuntimeError

    rounds = protocol.rounds({"a": fail}, CPU, random.Random(0))
    with pytest.raises(RuntimeError):
        next(rounds)
    assert gc.isenabled()


def test_a_device_is_synchronised_on_both_sides(monkeypatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(clock, "synchronise", lambda device: events.append("synchronise"))
    clock.seconds(lambda: events.append("work"), CPU)
    assert events == ["synchronise", "work", "synchronise"]


def test_a_deadline_counts_down() -> None:
    deadline = clock.Deadline.after(100)
    assert 99 < deadline.left <= 100
    assert clock.Deadline.after(-1).left < 0
