"""The floor in its process."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from harness.spec import Case, paper
from harness.speed import floor
from harness.speed.inside.turns import Turns
from harness.system import allocator


@dataclass(eq=False)
class FloorInside:
    """The floor, in its process."""

    case: Case
    _turns: Turns | None = None

    @property
    def _work(self) -> floor.Work:
        return floor.Work(self.case.mode, self.case.precision, torch.device(self.case.device))

    def answer(self, order: str, given: list[Any]) -> object:
        """Does what is ordered."""
        orders: dict[str, Callable[..., object]] = {
            "layouts": self._layouts,
            "build": self._build,
            "ready": lambda roll: self._there.ready(),
            "iterate": lambda: self._there.iterate(),
            "report": self._report,
            "release": allocator.release,
        }
        return orders[order](*given)

    @property
    def _there(self) -> Turns:
        assert self._turns is not None, "it was not built"
        return self._turns

    @property
    def _shape(self) -> floor.Shape:
        static = paper.settings(self.case.dataset).static
        return floor.Shape(self.case.T, self.case.batch_size, static)

    def _layouts(self) -> tuple[floor.Layout, ...]:
        return floor.fastest(self.case.network, self._shape, self._work)

    def _build(self, *layouts: floor.Layout) -> None:
        products = floor.products(self.case.network, self._shape, layouts, self._work)
        self._turns = Turns(self._work.device, floor.iteration(products, self._work))

    def _report(self) -> list[object]:
        gc.enable()
        return [None, None, torch.get_num_threads(), []]
