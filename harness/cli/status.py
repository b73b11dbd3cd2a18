"""`harness status` and `harness verify`: what this machine would make of recorded cases."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from harness import api
from harness.cli import endings
from harness.cli.console import out, progress, read_rows, takes
from harness.spec import ANN, FLOOR, Access, Case, Count, Fit, Options, Timing, UsageError
from harness.spec.options import RESULTS, parse_path

if TYPE_CHECKING:  # these imports take a moment
    from harness.analysis.status import Standing
    from harness.records import Row
    from harness.reports.table import Table


@takes("suite", "quick", "long", "paper", "device", "out")
def status(**values: Any) -> None:
    """Say which cases are done, failed or missing. And about how long the rest takes.

    Where no size is named, what was trained on the schedule of --long, which the report rests on,
    is counted: its networks and settings, each with the seeds of any of them.
    """
    options = Options.parse(**values)
    from harness import suites
    from harness.analysis import status as standing
    from harness.records import Store, TrainedResult, of_kind

    chosen = {options.suite: suites.suite(options.suite)} if options.suite else suites.SUITES
    fresh = options.out == RESULTS and not Store(RESULTS).files  # nothing was kept yet
    rows = [] if fresh else read_rows(options.out)
    device = api.device(options.device)
    has_size = options.quick or options.long or options.paper
    cases: list[Case] = []
    plans = list[str]()
    trained = {standing.condition(row.case) for row in of_kind(rows, TrainedResult)}
    for name, suite in chosen.items():
        for_no_cpu = options.paper and suite.long and device == "cpu"
        if for_no_cpu or (options.long and not suite.long):
            continue
        of_suite = replace(options, suite=name, device=device)
        planned = [] if has_size else standing.plans(name, rows)
        plans += [f"counted: {name} {plan}" for plan in planned]
        for plan in planned:
            every = api.cases(plan.options(of_suite), suite)
            cases += [case for case in every if standing.condition(case) in trained]
        cases += [] if planned else api.suited(api.cases(of_suite, suite), suite, options)
    if not cases:
        raise UsageError(
            "nothing of this runs on this machine: leave --suite, --long or --paper out"
        )
    counts = standing.standings(cases, rows, key_now(device), options.spending)
    out.print(standings_table(counts, plans))


def standings_table(standings: Sequence[Standing], plans: Sequence[str] = ()) -> Table:
    """Return a table of each suite's cases: done, failed, missing, and about how long they take."""
    from harness.reports.table import Table, seconds

    lines = [
        {
            "suite": line.suite,
            "data set": line.dataset,
            "done": line.done,
            "out of date": line.dated,
            "failed": line.failed,
            "not run": line.left_out,
            "missing": line.missing,
            "left": seconds(line.seconds_left),
        }
        for line in standings
    ]
    out_of_date = "out of date: of other code, versions, machine or settings of it (harness doctor)"
    not_run = "not run: its framework is not installed, or cannot express the network"
    return Table(lines, notes=(out_of_date, not_run, *plans))


def key_now(device: str) -> Callable[[Case, Row], str | None]:
    """Return a function: a case's key on this machine and a row's data; None if it is not known."""
    import torch

    from harness import baselines
    from harness.baselines import trial
    from harness.machine import host
    from harness.proof.installation import installation_of
    from harness.records.identity import timing_key, training_key

    machine = host.describe(torch.device(device))

    def key(case: Case, row: Row) -> str | None:
        """Return the case's key, with what is installed here and the data that the row names."""
        source, test = row.data.source, row.data.test
        if lacks(case) is not None or source is None:
            return None
        if isinstance(case, Fit):
            installation = trial.installation_of(baselines.load(case.contender.framework))
        else:
            installation = installation_of(case)
        if isinstance(case, Timing | Count):
            return timing_key(case, source.sha256, installation, machine, row.run.allocator or "")
        return training_key(case, source.sha256, test.sha256 if test else "", installation)

    return key


def lacks(case: Case) -> str | None:
    """Return why a case cannot run here; None where it can."""
    import torch

    import adapters
    from harness import baselines

    if case.device != "cpu" and not torch.cuda.is_available():
        return f"it ran on {case.device}, and this machine has none"
    try:
        if isinstance(case, Fit):
            baselines.load(case.contender.framework)
        elif case.contender.framework not in (ANN, FLOOR):
            return adapters.missing(case.contender.name)
    except UsageError as error:  # there is none of that name
        return str(error)
    return None


BUDGET = 30.0  # seconds


@takes("budget", "data_root")
def verify(
    records: Annotated[str, typer.Argument(metavar="RECORDS", help="Folder of results.")],
    sample: Annotated[
        int, typer.Option(help="Trainings, and cells, to measure again.", metavar="N", min=1)
    ] = 2,
    epochs: Annotated[
        int, typer.Option(help="Of a training, the first ones.", metavar="N", min=1)
    ] = 1,
    seed: Annotated[int, typer.Option(help="Draws the sample.", metavar="N", min=0)] = 0,
    **values: Any,
) -> None:
    """Measure a sample of recorded cases again. Exit 1 if a figure differs.

    The budget is of each cell: 30 s unless it is given.
    """
    options, path = Options.parse(**values), parse_path(records)
    from harness import datasets
    from harness.jobs import verify as verifying
    from harness.jobs.local import Local
    from harness.records import Store
    from harness.reports.table import Table

    folder = Store.at(path).out
    rows, budget = read_rows(folder), options.budget or BUDGET
    access = Access(datasets.data_root(options.data_root))
    with endings.interruption_note("nothing was confirmed"), progress() as moves:
        context = verifying.VerifyContext(
            Local(("harness", *sys.argv[1:])), access, lacks, moves, folder / "weights"
        )
        checks = list(verifying.verify(rows, context, sample, seed, epochs, budget))
    names = ("case", "figure", "recorded", "now", "verdict")
    lines = [{name: getattr(check, name) for name in names} for check in checks]
    reasons = dict.fromkeys(f"{check.case}: {check.reason}" for check in checks if check.reason)
    out.print(Table(lines, notes=reasons))
    counts = Counter(check.verdict for check in checks)
    out.print(", ".join(f"{counts[verdict]} {verdict}" for verdict in get_args(verifying.Verdict)))
    if counts["differs"] or len(checks) == counts["not tested"]:  # what tested nothing is no pass
        raise typer.Exit(1)
