"""The executor that a command names; what it needs is imported only then."""

from __future__ import annotations

from harness.jobs import Executor
from harness.spec import UsageError

EXECUTORS = ("local", "ray", "slurm")


def chosen(name: str, ray_address: str | None, silence: float) -> Executor:
    """The executor of that name; a case that says nothing for `silence` seconds is ended.

    Raises UsageError where it is unknown or not installed.
    """
    if name not in EXECUTORS:
        raise UsageError(f"unknown executor {name!r}, choose from {', '.join(EXECUTORS)}")
    if ray_address is not None and name != "ray":
        raise UsageError("--ray-address is for --executor ray: give both, or neither")
    if name == "local":
        from harness.jobs.local import Local

        return Local(silence)
    try:
        if name == "ray":
            from harness.jobs.ray import Ray

            return Ray(ray_address, silence)
        from harness.jobs.slurm import Slurm

        return Slurm(silence)
    except ImportError as error:
        raise UsageError(
            f"--executor {name} does not load ({error}): "
            f"install it with pip install 'snn-harness[{name}]'"
        ) from error
