"""Where cases run: on this machine, or on those of a Ray cluster. Rows come back to one folder.

Whatever the executor, a case gives the same rows, up to its seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.records import DescentRow, Row
from harness.spec import Case, UsageError

if TYPE_CHECKING:
    from harness.jobs.local import Local
    from harness.jobs.ray import Ray


@dataclass(frozen=True)
class Result:
    """A training, another system or a count that came to an end; or a cell with figures so far."""

    case: Case  # of a cell what its cases share
    rows: tuple[Row, ...]
    rounds: int = 0  # of a cell
    before: bool = False  # an earlier command had done it
    left_seconds: float = 0.0  # of a cell that was not begun: what it takes, about
    # of all cells: how a contender trains in bf16 is measured once
    descents: tuple[DescentRow, ...] = ()


def executor(name: str) -> Local | Ray:
    """The executor of that name, "local" or "ray". Raises UsageError where it is not installed."""
    if name == "local":
        from harness.jobs.local import Local

        return Local()
    try:
        from harness.jobs.ray import Ray
    except ImportError as error:
        raise UsageError(
            f"--executor {name} does not load ({error}): "
            f"install it with pip install 'snn-harness[{name}]'"
        ) from error
    return Ray()
