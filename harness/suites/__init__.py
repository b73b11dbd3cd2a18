"""The experiments: functions from what a run is asked for to cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.spec import ANN, Case, Options, UsageError
from harness.suites import baselines, timings, trainings


@dataclass(frozen=True)
class Suite:
    """An experiment: its cases, the frameworks that it runs, and how its cases are done."""

    cases: Callable[[Options], tuple[Case, ...]]  # the options name frameworks and device
    frameworks: tuple[str, ...] | None = None  # that run where none is named; None: all known
    opt_in: tuple[str, ...] = ()  # frameworks that run only where they are named
    trains: bool = False  # cases run one by one (trainings, other systems, counts); else timed
    long: bool = False  # whether it has cases for `--long`


SUITES: dict[str, Suite] = {
    "acceleration": Suite(timings.acceleration, opt_in=timings.OPT_IN),
    **{
        cases.__name__: Suite(cases, trainings.FRAMEWORKS, trains=True, long=True)
        for cases in trainings.SUITES
    },
    "accuracy": Suite(trainings.accuracy, (*trainings.FRAMEWORKS, ANN), trains=True, long=True),
    "baselines": Suite(baselines.cases, (), trains=True),
    # the count depends on the function, not on the framework
    "energy": Suite(timings.energy, ("reference",), trains=True),
}


def suite(name: str) -> Suite:
    """Return the suite of that name. Raises UsageError where there is none."""
    if not name:
        raise UsageError("no suite is named: `harness list suites` lists them")
    if name not in SUITES:
        raise UsageError(f"unknown suite {name!r}, choose from {', '.join(SUITES)}")
    return SUITES[name]


def about(name: str) -> str:
    """Return what a suite measures: the first line of its function."""
    return (SUITES[name].cases.__doc__ or "").partition("\n")[0]
