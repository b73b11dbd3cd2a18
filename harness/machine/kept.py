"""Measurements that are made once on this machine and kept in the user's cache folder.

All processes use what was measured first. It is measured anew where the processor, torch or a
variable that changes their speed differs.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from harness.machine import host
from harness.machine.files import cached

T = TypeVar("T")
# "timed": only with timed contenders, since nothing else of ours runs then: what was measured on a
# busy machine would stand for good. "all": with all others. "nobody": use the default value, since
# another process computes meanwhile, or a later commit has to compute the same.
Sharing = Literal["all", "timed", "nobody"]
_sharing: Sharing = "all"


def share_with(processes: Sharing) -> None:
    """Set with which processes of ours this one shares its measurements from now on."""
    global _sharing
    _sharing = processes


@dataclass(frozen=True)
class MeasurementCache(Generic[T]):
    """Measurements of one kind, kept as JSON: each is a JSON value, or an object of such fields."""

    folder: str  # in the user's cache folder
    from_json: Callable[[Any], T]  # raises where it is no such value

    def get(self, of: tuple[object, ...], measure: Callable[[], T], default: T) -> T:
        """Return the kept measurement, else make one; `default` where nothing may be measured.

        `of` is all that it depends on, by `repr`.
        """
        if _sharing == "nobody":
            return default

        def read(path: Path) -> T:
            return self.from_json(json.loads(path.read_text("utf-8"))["value"])

        def write(path: Path, measured: T) -> None:
            content = {"of": [repr(each) for each in of], "value": measured}
            path.write_text(json.dumps(content, default=vars), "utf-8")

        *processor, settings = host.speed_factors()
        # a training chooses alike at any priority, so that one that is resumed ends the same
        timed = _sharing == "timed"
        key = repr((timed, *processor, settings if timed else None, *of))
        return cached(self.folder, ".json", key, measure, read, write)[0]
