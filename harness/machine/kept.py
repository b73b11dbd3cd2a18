"""Measurements that are made once on this machine and kept in the user's cache folder.

All processes use what was measured first. It is measured anew where the processor, torch or a
variable that changes their speed differs, and once for each timing with `--fresh`: an earlier one
may have been made while the machine was busy.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from harness.machine import host
from harness.machine.files import cached, make_user_cache, user_cache

T = TypeVar("T")
# "timed": only with timed contenders, since nothing else of ours runs then: what was measured on a
# busy machine would stand for good. "all": with all others. "nobody": use the default value, since
# another process computes meanwhile, or a later commit has to compute the same.
Sharing = Literal["all", "timed", "nobody"]
_sharing: Sharing = "all"
STAMP = "measured-anew"  # a file in the user's cache folder: measurements older than it are void


def share_with(processes: Sharing) -> None:
    """Set with which processes of ours this one shares its measurements from now on."""
    global _sharing
    _sharing = processes


def forget_all() -> None:
    """Make void all measurements so far: the next process to need one makes it, for all others."""
    with suppress(OSError):
        (make_user_cache("") / STAMP).touch()


@dataclass(frozen=True)
class MeasurementCache(Generic[T]):
    """Measurements of one kind, kept as JSON: each is a JSON value, or an object of such fields."""

    folder: str  # in the user's cache folder
    from_json: Callable[[Any], T]  # raises where it is no such value

    def get(self, factors: tuple[object, ...], measure: Callable[[], T], default: T) -> T:
        """Return the kept measurement, else make one; `default` where nothing may be measured.

        `factors` are all that it depends on, besides the machine, by `repr`.
        """
        if _sharing == "nobody":
            return default

        def read(path: Path) -> T:
            """Return a file's value; ValueError if it is older than the last `void`."""
            stamp = user_cache() / STAMP
            if stamp.exists() and path.stat().st_mtime_ns < stamp.stat().st_mtime_ns:
                raise ValueError("it is void")  # so it is made again
            return self.from_json(json.loads(path.read_text("utf-8"))["value"])

        def write(path: Path, measured: T) -> None:
            content = {"of": [repr(factor) for factor in factors], "value": measured}
            path.write_text(json.dumps(content, default=vars), "utf-8")

        *processor, settings = host.speed_factors()
        # a training chooses alike at any priority, so that one that is resumed ends the same
        timed = _sharing == "timed"
        key = repr((timed, *processor, settings if timed else None, *factors))
        return cached(self.folder, ".json", key, measure, read, write)[0]
