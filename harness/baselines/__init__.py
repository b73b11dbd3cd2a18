"""The other systems of Tables 3 to 6, one file each: here by file name, elsewhere by entry point.

A package declares one of its own in the group `harness.baselines`. `contract` says what a file
offers. None is imported before it is asked for, and none of them by this module.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any

from harness.baselines.system import System
from harness.spec import UsageError, paper
from harness.system import installed

ENTRY_POINTS = "harness.baselines"
# in the order of the paper's tables
OURS = (
    *("lstm", "phased-lstm", "lee", "stbp", "hm2-bp", "cnn-frames", "cnn-events"),
    *("random-forest", "hfirst", "hots", "hats", "gabor-snn"),
    *("panda", "cao", "rueckauer", "sengupta", "soft-lif-ann", "soft-lif"),
)
_WORDS = ("TITLE", "PAPER", "DATASETS", "INPUT", "WINDOWS", "FIDELITY", "DEVIATIONS", "RANDOM")


@cache
def _declared() -> Mapping[str, metadata.EntryPoint]:
    return {point.name: point for point in metadata.entry_points(group=ENTRY_POINTS)}


def names() -> tuple[str, ...]:
    """Every known system: ours in the order of the tables, then what packages declare."""
    return (*OURS, *sorted(set(_declared()) - set(OURS)))


def check_name(name: str) -> None:
    """Raises UsageError where no such system is known."""
    if name not in names():
        raise UsageError(f"unknown baseline {name!r}, choose from {', '.join(names())}")


class Missing(UsageError):
    """A system's file does not load here; the message says what to install."""


@cache
def load(name: str) -> System:
    """What that system's file says of it. Raises UsageError where it is unknown or says too
    little, Missing where it does not load.
    """
    check_name(name)
    module = _imported(name)
    lacking = [word for word in (*_WORDS, "build") if word not in vars(module)]
    if lacking:
        raise UsageError(f"the baseline {name} has no {', '.join(lacking)}: see its contract")
    found: dict[str, Any] = {word.lower(): vars(module)[word] for word in _WORDS}
    system = System(
        name=name,
        about=(module.__doc__ or "").partition("\n")[0],
        epochs=vars(module).get("EPOCHS", {}),
        steps=vars(module).get("STEPS", ()),
        revision=vars(module).get("REVISION", 0),
        packages=vars(module).get("PACKAGES", ()),
        build=vars(module)["build"],
        **found,
    )
    for dataset in system.datasets:
        paper.settings(dataset)  # raises UsageError for another
    if not isinstance(system.steps, tuple):  # a name that many would give to something else
        raise UsageError(
            f"STEPS of the baseline {name} are {system.steps}, expected numbers (1, 2)"
        )
    return system


def _imported(name: str) -> ModuleType:
    point = _declared().get(name)
    try:
        if point is not None:
            return point.load()
        return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    except ImportError as error:
        hint = "pip install 'snn-harness[baselines]'" if point is None else "see its package"
        raise Missing(f"the baseline {name} does not load ({error}): {hint}") from error


def versions(system: System) -> str | None:
    """The versions of the packages that compute for it, "numba 0.62"; None: of torch alone."""
    found = (f"{each} {installed.version(each) or 'missing'}" for each in system.packages)
    return ", ".join(found) or None
