"""Where cases run: on this machine, or on those of a Ray cluster. Rows come back to one folder.

Whatever the executor, a case gives the same rows, up to its seconds.
"""

from __future__ import annotations

from harness.jobs.results import Executor, Result
from harness.spec import UsageError

__all__ = ["Executor", "Result", "executor"]


def executor(name: str) -> Executor:
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
