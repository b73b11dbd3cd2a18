"""The experiments, one file each: functions from what the command line selects to cases."""

from __future__ import annotations

import sys
from collections.abc import Callable

from harness.spec import Case, Selection, UsageError
from harness.suites import acceleration

SUITES: dict[str, Callable[[Selection], tuple[Case, ...]]] = {
    "acceleration": acceleration.cases,
}


def check_name(suite: str) -> None:
    """Raises UsageError where there is no such suite."""
    if suite not in SUITES:
        raise UsageError(f"unknown suite {suite!r}, choose from {', '.join(SUITES)}")


def cases(suite: str, selection: Selection) -> tuple[Case, ...]:
    """The cases of a suite under a selection. Raises UsageError for what does not exist."""
    check_name(suite)
    return SUITES[suite](selection)


def about(suite: str) -> str:
    """What a suite measures: the first line of its file."""
    module = sys.modules[SUITES[suite].__module__]
    return (module.__doc__ or "").partition("\n")[0]
