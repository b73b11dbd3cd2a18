"""The experiments, one file each: functions from what the command line selects to cases."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from harness.spec import Case, Selection, UsageError
from harness.suites import (
    ablations,
    acceleration,
    accuracy,
    baselines,
    energy,
    neunorm,
    scale,
    timesteps,
    trained,
)


@dataclass(frozen=True)
class Suite:
    """One experiment."""

    cases: Callable[[Selection], tuple[Case, ...]]
    # those that run where none is named; None: all known
    frameworks: tuple[str, ...] | None = None
    beside: tuple[str, ...] = ()  # variants that run too where none is named
    apart: tuple[str, ...] = ()  # frameworks that run where they are named alone
    trains: bool = False  # its cases are done one by one, as trainings are; else they are timed
    shorter: str = "--epochs, --samples or --width"  # what to shorten it with, where no time does
    long: bool = False  # whether it has trainings of `--long`


SUITES: dict[str, Suite] = {
    "acceleration": Suite(acceleration.cases, beside=acceleration.BESIDE, apart=acceleration.APART),
    "timesteps": Suite(timesteps.cases, trained.FRAMEWORKS, trains=True, long=True),
    "scale": Suite(scale.cases, trained.FRAMEWORKS, trains=True, long=True),
    "neunorm": Suite(neunorm.cases, trained.FRAMEWORKS, trains=True, long=True),
    "accuracy": Suite(accuracy.cases, trained.FRAMEWORKS, trains=True, long=True),
    "ablations": Suite(ablations.cases, trained.FRAMEWORKS, trains=True, long=True),
    "baselines": Suite(baselines.cases, (), trains=True, shorter=baselines.SHORTER),
    "energy": Suite(energy.cases, energy.FRAMEWORKS, trains=True, shorter=energy.SHORTER),
}


def suite(name: str) -> Suite:
    """The suite of that name. Raises UsageError where there is none."""
    if name not in SUITES:
        raise UsageError(f"unknown suite {name!r}, choose from {', '.join(SUITES)}")
    return SUITES[name]


def about(name: str) -> str:
    """What a suite measures: the first line of its file."""
    module = sys.modules[SUITES[name].cases.__module__]
    return (module.__doc__ or "").partition("\n")[0]
