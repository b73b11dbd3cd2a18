"""What is measured once on this machine and kept in the user's cache folder.

All processes go on with what was measured first. It is measured anew where the processor, torch or
a variable that changes their speed is another. Timed contenders share no measurement with processes
that run at the same time as others (`measure_alone`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.system import machine
from harness.system.files import cached

T = TypeVar("T")

_alone = False  # whether this process shares measurements with its like alone
_measures = True  # whether it may measure


def measure_alone() -> None:
    """Share measurements, from now on, only with processes that call this too.

    These are contenders, while nothing else of ours runs: a measurement on a busy machine would
    stand for good.
    """
    global _alone
    _alone = True


def measure_nothing() -> None:
    """Use the default, from now on, where a measurement is asked for.

    Another process computes meanwhile, and no time of this one is shown.
    """
    global _measures
    _measures = False


@dataclass(frozen=True)
class MeasurementCache(Generic[T]):
    """Measurements of one kind, each a JSON value or an object of fields that are."""

    folder: str  # in the user's cache folder
    from_json: Callable[[Any], T]  # raises where it is no such value
    usual: T  # where nothing may be measured

    def get(self, of: tuple[object, ...], measure: Callable[[], T]) -> T:
        """Return the kept measurement, else a new one. `of`: all that it depends on, by `repr`."""
        if not _measures:
            return self.usual

        def read(path: Path) -> T:
            return self.from_json(json.loads(path.read_text("utf-8"))["value"])

        def write(path: Path, measured: T) -> None:
            content = {"of": [repr(each) for each in of], "value": measured}
            path.write_text(json.dumps(content, default=vars), "utf-8")

        key = repr((_alone, *machine.speed(), *of))
        return cached(self.folder, ".json", key, measure, read, write)[0]
