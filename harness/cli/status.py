"""`harness status`, and what this machine would make of recorded cases."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness import api
from harness.cli.console import out, read, takes
from harness.spec import ANN, FLOOR, Case, Options, System, Timed, UsageError

if TYPE_CHECKING:  # these imports take a moment
    from harness.analysis.status import Standing
    from harness.records import Row
    from harness.report.table import Table


@takes("suite", "quick", "long", "paper", "device", "out")
def status(**given: Any) -> None:
    """Say which cases are done, failed or missing. And about how long the rest takes."""
    options = Options.of(**given)
    from harness import suites
    from harness.analysis import status as standing
    from harness.system import machine

    chosen = {options.suite: suites.suite(options.suite)} if options.suite else suites.SUITES
    records = read(options.out)
    device = api.device(options.device)
    cases: list[Case] = []
    for name, of in chosen.items():
        for_no_cpu = options.paper and of.trains and device == "cpu"
        if not for_no_cpu and (of.long or not options.long):
            cases += api.cases(replace(options, suite=name, device=device), of)
    out.print(standings(standing.standings(machine.suited(cases), records, key_now(device))))


def standings(found: Sequence[Standing]) -> Table:
    """How the suites stand, and about how long the rest takes."""
    from harness.report.table import Table, seconds

    heads = {"done": "done", "dated": "out of date", "failed": "failed"}
    heads |= {"left_out": "not run", "missing": "missing"}
    lines = [
        {
            "suite": each.suite,
            "data set": each.dataset,
            **{head: str(getattr(each, name)) for name, head in heads.items()},
            "left": seconds(each.seconds_left),
        }
        for each in found
    ]
    notes = {
        "out of date: of other code, versions or machine": any(each.dated for each in found),
        "not run: its framework is not here, or cannot": any(each.left_out for each in found),
    }
    return Table(lines, notes=tuple(note for note, is_there in notes.items() if is_there))


def key_now(device: str) -> Callable[[Case, Row], str | None]:
    """The key that a case would have here, on the data of a row; None where that cannot be said."""
    import torch

    from harness import baselines
    from harness.baselines.trial import software_of
    from harness.proof.subject import subject_of
    from harness.records.identity import timing_key, training_key
    from harness.system import machine

    here = machine.describe(torch.device(device))

    def key(case: Case, row: Row) -> str | None:
        if lacks(case) is not None or row.data_sha256 is None:
            return None
        if isinstance(case, System):
            software = software_of(baselines.load(case.framework))
        else:
            software = subject_of(case).software
        if isinstance(case, Timed):
            return timing_key(case, row.data_sha256, software, here, row.allocator or "")
        return training_key(case, row.data_sha256, row.data_test_sha256 or "", software)

    return key


def lacks(case: Case) -> str | None:
    """Why a case cannot run here; None where it can."""
    import torch

    import adapters
    from harness import baselines

    if case.device != "cpu" and not torch.cuda.is_available():
        return f"it ran on {case.device}, and there is none here"
    if isinstance(case, System):
        if case.framework not in baselines.names():
            return f"the baseline {case.framework} is not here"
        try:
            baselines.load(case.framework)
        except UsageError as error:
            return str(error)
        return None
    if case.framework in (ANN, FLOOR):
        return None
    if case.framework.partition(":")[0] not in adapters.names():
        return f"its adapter {case.framework} is not here"
    return adapters.missing(case.framework)
