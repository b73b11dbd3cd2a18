"""Where cases run: on this machine, or on those of a Ray cluster. Rows come back to one folder.

Whatever the executor, a case gives the same rows, up to its seconds.
"""

from __future__ import annotations

from harness.jobs.results import CellResult, Executor, TrialResult
from harness.spec import UsageError

__all__ = ["EXECUTORS", "CellResult", "Executor", "TrialResult", "executor"]

EXECUTORS = ("local", "ray")


def executor(name: str) -> Executor:
    """The executor of that name. Raises UsageError where it is unknown or not installed."""
    if name not in EXECUTORS:
        raise UsageError(f"unknown executor {name!r}, choose from {', '.join(EXECUTORS)}")
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
