"""What runs in a contender's process: it is asked, it computes, it judges nothing.

Each order is answered once, with JSON; tensors go through the exchange.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Protocol

import torch
from torch._dynamo.exc import TorchDynamoException

import adapters
from harness.adapter import Unsupported
from harness.proof.answer import Incomparable
from harness.spec import FLOOR, Allocator, Case
from harness.speed.exchange import Exchange
from harness.speed.inside.bottom import FloorInside
from harness.speed.inside.network import AdapterInside, Find
from harness.system import allocator, kept
from harness.system.former_child import Ends


@dataclass(frozen=True)
class Setting:
    """How the process is set up: as every contender's."""

    threads: int
    allocator: Allocator


class Inside(Protocol):
    """One contender, or the floor, in its process."""

    def answer(self, order: str, given: list[Any]) -> object:
        """Does what is ordered."""
        ...


def main(
    ends: Ends, case: Case, find: Find, exchange: Connection, setting: Setting, compiled: str
) -> None:
    """The process, until its owner is gone. What torch compiles here lies in the folder."""
    ends.enter()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = compiled
    torch.set_num_threads(setting.threads)
    allocator.choose(setting.allocator)
    kept.measure_alone()
    inside = inside_of(case, find, Exchange.at(exchange))
    ends.say(["here"])
    while True:
        try:
            order, *given = ends.hear()
        except EOFError:  # the owner is gone
            return
        ends.say(answered(inside, order, given))


def inside_of(case: Case, find: Find, exchange: Exchange) -> Inside:
    """Who computes a case."""
    if case.framework == FLOOR:
        return FloorInside(case)
    return AdapterInside(case, find, exchange)


def answered(inside: Inside, order: str, given: list[Any]) -> list[object]:
    """What came of an order, as it is said to the owner."""
    try:
        return ["done", inside.answer(order, given)]
    except Unsupported as reason:
        return ["unsupported", str(reason)]
    except Incomparable as reason:
        return ["not comparable", str(reason)]
    except adapters.Missing as reason:
        return ["missing", str(reason)]
    except TorchDynamoException as error:
        return ["unsupported", f"torch.compile: {type(error).__name__}: {error}"]
    except Exception as error:  # noqa: BLE001 a framework may throw anything: it becomes a row
        return ["failed", f"{type(error).__name__}: {error}"]
