"""The experiments: functions from what a run is asked for to cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.spec import ANN, MASKED_ANN, Case, Count, Fit, Options, Timing, Training, UsageError
from harness.suites import baselines, timings, trainings


@dataclass(frozen=True)
class Suite:
    """An experiment: the kind of its cases, its cases, and the frameworks that it runs."""

    kind: type[Case]
    cases: Callable[[Options], tuple[Case, ...]]  # the options name frameworks and device
    frameworks: tuple[str, ...] | None = None  # that run where none is named; None: all known
    opt_in: tuple[str, ...] = ()  # frameworks that run only where they are named

    @property
    def is_timed(self) -> bool:
        """Whether cases are timed together; else they run one by one."""
        return self.kind is Timing

    @property
    def long(self) -> bool:
        """Whether it has cases for `--long`."""
        return self.kind is Training


SUITES: dict[str, Suite] = {
    "acceleration": Suite(Timing, timings.acceleration, opt_in=timings.OPT_IN),
    "layer": Suite(Timing, timings.layer, opt_in=timings.LAYER_OPT_IN),
    **{cases.__name__: Suite(Training, cases, trainings.FRAMEWORKS) for cases in trainings.SUITES},
    "accuracy": Suite(Training, trainings.accuracy, (*trainings.FRAMEWORKS, ANN), (MASKED_ANN,)),
    "baselines": Suite(Fit, baselines.cases, ()),
    # the count depends on the function, not on the framework
    "energy": Suite(Count, timings.energy, ("reference",)),
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
