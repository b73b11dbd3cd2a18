"""Where cases run: on this machine, or on those of a Ray cluster. Rows come back to one folder.

Whatever the executor, a case gives the same rows, up to its seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.spec import UsageError

if TYPE_CHECKING:
    from harness.jobs.local import Local
    from harness.jobs.ray import Ray


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
