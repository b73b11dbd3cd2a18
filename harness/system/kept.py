"""What is measured once on this machine and kept in the user's cache folder.

All processes go on with what was measured first. It is measured anew where the processor, torch or
a variable that changes their speed is another.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from harness.system import machine
from harness.system.files import cached

T = TypeVar("T")
# "timed": contenders that are, while nothing else of ours runs: what was measured on a busy machine
# would stand for good. "nobody": it uses defaults, since another process computes meanwhile.
Sharing = Literal["all", "timed", "nobody"]
_sharing: Sharing = "all"


def share_with(processes: Sharing) -> None:
    """Set which processes this one shares its measurements with, from now on."""
    global _sharing
    _sharing = processes


@dataclass(frozen=True)
class MeasurementCache(Generic[T]):
    """Measurements of one kind, each a JSON value or an object of fields that are."""

    folder: str  # in the user's cache folder
    from_json: Callable[[Any], T]  # raises where it is no such value
    usual: T  # where nothing may be measured

    def get(self, of: tuple[object, ...], measure: Callable[[], T]) -> T:
        """Return the kept measurement, else a new one. `of`: all that it depends on, by `repr`."""
        if _sharing == "nobody":
            return self.usual

        def read(path: Path) -> T:
            return self.from_json(json.loads(path.read_text("utf-8"))["value"])

        def write(path: Path, measured: T) -> None:
            content = {"of": [repr(each) for each in of], "value": measured}
            path.write_text(json.dumps(content, default=vars), "utf-8")

        key = repr((_sharing == "timed", *machine.speed(), *of))
        return cached(self.folder, ".json", key, measure, read, write)[0]
