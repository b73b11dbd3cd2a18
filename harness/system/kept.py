"""What is measured once on this machine and kept in the user's cache folder: the first stands.

Processes that measure the same at once, now or later, all go on with what was kept first. It is
measured anew where the processor, torch or a variable that changes their speed is another. Timed
contenders share no measurement with processes that run at the same time as others
(`measure_alone`).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.system import machine
from harness.system.files import make_user_cache

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
    """Use the default, from now on, where no measurement is kept.

    Another process computes meanwhile, and no time of this one is shown.
    """
    global _measures
    _measures = False


@dataclass(frozen=True)
class MeasurementCache(Generic[T]):
    """Measurements of one kind, each a JSON value or an object of fields that are."""

    folder: str  # in the user's cache folder
    read: Callable[[Any], T]  # from JSON; raises ValueError, TypeError or KeyError
    usual: T  # where nothing may be measured

    def get(self, of: tuple[object, ...], measure: Callable[[], T]) -> T:
        """Return the kept measurement, else a new one. `of`: all that it depends on, by `repr`."""
        if not _measures:
            return self.usual
        where = repr((_alone, *machine.speed(), *of))
        name = hashlib.sha256(where.encode()).hexdigest()[:16]
        try:
            path = make_user_cache(self.folder) / f"{name}.json"
        except OSError:  # nowhere to keep it
            return measure()
        kept = self._kept(path)
        if kept is not None:
            return kept
        measured, own = measure(), path.with_suffix(f".{secrets.token_hex(4)}")
        content = {"of": [repr(each) for each in of], "value": measured}
        with suppress(OSError):  # it cannot be written, or another process has kept its own
            own.write_text(json.dumps(content, default=vars), encoding="utf-8")
            os.link(own, path)
        with suppress(OSError):  # nor is there anything then
            own.unlink()
        return self._kept(path) or measured

    def _kept(self, path: Path) -> T | None:
        """Return the kept value; None where there is none, or a damaged file, which is deleted."""
        try:
            return self.read(json.loads(path.read_text(encoding="utf-8"))["value"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError):
            with suppress(OSError):
                path.unlink()
            return None
