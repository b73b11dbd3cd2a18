"""What `harness run` measures or trains, shown as it comes; the rows are kept by then."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from math import inf, isnan

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from harness import datasets
from harness.analysis import status, tables, timings
from harness.analysis.frame import frames
from harness.analysis.timings import TimedLine
from harness.analysis.words import case_in_words, counted, data_name
from harness.api import Work
from harness.cli import endings
from harness.cli.console import out, progress, say
from harness.datasets import DOWNLOAD_FAILED, SplitRequest
from harness.machine import host
from harness.records import (
    Bf16TrainingResult,
    EndedResult,
    EpochResult,
    FittedResult,
    OperationsResult,
    Row,
    Store,
    TrainedResult,
    WarningResult,
    of_kind,
)
from harness.records.run import CaseRows
from harness.reports import fastest, page, prose, shown
from harness.reports.table import seconds
from harness.spec import FLOOR, Case, Count, Fit, Timing, Training, UsageError, cells, network_name
from harness.spec.options import RESULTS
from harness.speed.estimates import training_seconds

BUSY = 1.0  # of the load over the last minute


def run(work: Work) -> list[Row]:
    """Run the cases, show figures; return new and earlier rows. Exits with 1 if a case failed."""
    missing = say_missing_data(work)
    rows = measure(work) if work.suite.is_timed else train(work)
    note = f"what was measured is kept in {work.options.out / 'records'}"
    with endings.interruption_note(note, work.store.folder):
        _end(work, rows, missing)
    return rows


def say_missing_data(work: Work) -> set[str]:
    """Fetch missing data and say before the run what stands in; return these data sets."""
    missing, access = set[str](), work.access
    firsts = {case.workload.dataset: case for case in reversed(work.cases)}
    for name, case in firsts.items() if work.options.executor == "local" else ():
        if isinstance(case, Training | Fit):
            request = SplitRequest.of_case(case, access)
        else:
            may = name in access.download
            request = SplitRequest(name, case.workload.T, root=access.root, download=may)
        with suppress(UsageError):  # damaged data are the reason in its row
            if text := datasets.why_not_the_data(request):
                endings.say(f"data: {text}")
                missing.add(name)
    return missing


def _end(work: Work, rows: list[Row], missing: Collection[str]) -> None:
    """Say what there is to know of a run's rows, and write the page; exit with 1 as `run` does.

    `missing`: the data sets of which that was said before the run.
    """
    folder = work.options.out
    texts = [
        f"{row.workload.dataset} {network_name(row.workload)}: {row.result.reason}"
        for row in of_kind(rows, WarningResult)
    ]
    # why data are not those that were asked for: a download that failed, what stands in
    for data in (row.data for row in rows if row.workload.dataset not in missing):
        stands_in = data.source is not None and data.source.substitute
        if data.note and (stands_in or DOWNLOAD_FAILED in data.note):
            texts.append(f"data: {data.note}")
    ended = (row.result for row in of_kind(rows, EndedResult))
    texts += [f"left out: {result.reason}" for result in ended if result.status == "missing"]
    for text in dict.fromkeys(texts):
        endings.say(text)
    where = f" --out {folder}" if folder != RESULTS else ""
    say(f"{counted(len(rows), 'row')}: {folder / 'records'}")
    say(f"this table again: harness tables {work.options.suite}{where}")
    if rows:
        say(f"report: {page.write(work.store.read()[0], folder)[0]}")
    if bad := work.failed(rows):
        endings.say(f"{counted(len(bad), 'case')} failed; the table says why")
        raise typer.Exit(1)


def train(work: Work) -> list[Row]:
    """Run the cases of a suite that trains, print their results; return new and earlier rows."""
    store, suite = work.store, work.options.suite
    say(_estimated(work.cases, store))
    if work.options.precision is None and (
        len(host.without_emulated_bf16(work.cases)) < len(work.cases)
    ):
        endings.say(
            "this machine has no instructions for bf16, in which trainings take longer than in "
            "float32, and many times as long where torch computes them, as an ANN; --precision "
            "fp32 trains in float32 (these are other trainings)"
        )
    rows: list[Row] = []
    note = f"what was trained is kept in {work.options.out / 'records'}; "
    note += "--fresh trains it anew" if work.access.fresh else "run the same command to resume"
    with endings.interruption_note(note, store.folder), progress() as moves:
        for ended in work.results(moves):
            out.print(trained(ended))
            rows += ended.rows
    if any(isinstance(row.result, TrainedResult | FittedResult | OperationsResult) for row in rows):
        out.print(*shown.as_tables(suite, tables.FULL[suite](frames(rows))), sep="")
    return rows


def _estimated(cases: tuple[Case, ...], store: Store) -> str:
    """Return in a sentence how many cases a training run has, and about how long it takes."""
    # another suite's trainings tell too, and a folder of timings is long to read
    rows = store.read(cases[0].suite)[0] or store.read()[0]
    estimate = status.seconds_of(cases, rows)
    if isnan(estimate) and isinstance(cases[0], Training):
        estimate = training_seconds(cases)
    long = "how long is not known yet" if isnan(estimate) else f"about {seconds(estimate)}"
    return f"{cases[0].suite}: {counted(len(cases), 'case')}, {long}, minus what is done"


def measure(work: Work) -> list[Row]:
    """Time the cases that fit the budget, and print their figures; return new and earlier rows."""
    store, options, budget = work.store, work.options, work.options.spending
    cases = [case for case in work.suited if isinstance(case, Timing)]
    if len(cases) < len(work.cases):
        endings.say("bf16 is left out: no instructions for it; --precision bf16 measures it")
    for sentence in work.left_out:
        endings.say(sentence)
    if (load := host.moment().load or 0.0) > BUSY:
        endings.say(f"load {load:.1f} in the last minute: other processes make it noisy")
    results: dict[Case, CaseRows] = {}
    see = f"see it with `harness tables {options.suite} --out {options.out}`"
    note = f"what was measured is kept in {options.out / 'records'}; {see}"
    with endings.interruption_note(note, store.folder), progress() as moves:
        what = f"{counted(len(cells(cases)), 'cell')}, {counted(len(cases), 'contender')}"
        limit = "" if budget.seconds == inf else f", as many as fit into {seconds(budget.seconds)}"
        say(f"{options.suite}: {what}{limit}")
        for event in work.results(moves):
            results[event.case] = event
            if event.left_seconds or event.was_done:
                continue
            lines = timings.lines(frames([*event.rows, *event.bf16_trainings]))
            if event.more:
                say(first_figures(lines, event.rounds))
            else:
                out.print(*shown.timed(lines), sep="")
    measured = [result for result in results.values() if not result.left_seconds]
    rows = [row for result in measured for row in result.rows]
    # how a contender trains in bf16 is measured once for all cells
    lines = timings.lines(frames([*rows, *store.of_kind(Bf16TrainingResult)]))
    out.print(summary(lines))
    if earlier := [data_and_network(result.case) for result in measured if result.was_done]:
        say(f"measured before (--fresh measures it anew): {', '.join(earlier)}")
    for result in results.values():
        if result.left_seconds:
            what = f"{data_and_network(result.case)} ({seconds(result.left_seconds)})"
            fits = budget.fits(result.left_seconds)
            next_ = "run the same command to resume" if fits else "it needs --budget"
            say(f"no time was left for {what}: {next_}")
    return rows


def data_and_network(case: Case) -> str:
    """Return a case's data set and network, as tables name them."""
    workload = case.workload
    return f"{data_name(workload.dataset, substitute=False)} {network_name(workload)}"


def summary(lines: Sequence[TimedLine]) -> Group:
    """Return the page's first table and sentences, of the networks of Fig. 3."""
    table = fastest.table(fastest.headline(lines), fastest.ratio_text)
    return Group(*([table] if table.lines else []), *map(Text, prose.sentences(lines)))


def first_figures(lines: Sequence[TimedLine], rounds: int) -> str:
    """Return the ratios to the floor in a cell after its first `rounds`, as one line of text."""
    timed = [e for e in lines if e.framework != FLOOR and not isnan(e.ratio_to_floor)]
    timed.sort(key=lambda line: line.ratio_to_floor)
    ratios = ", ".join(f"{line.name} {line.ratio_to_floor:,.2f}" for line in timed) or "nothing"
    network = f"{lines[0].data_title} {lines[0].scale}"
    return f"{network}, {counted(rounds, 'round')} so far, x floor: {ratios}"


def trained(ended: CaseRows) -> RenderableType:
    """Describe a training in a line: its figures, or why it failed; and its warnings."""
    sources = [source for row in ended.rows if (source := row.data.source)]
    data = data_name(
        ended.case.workload.dataset,
        substitute=any(source.substitute for source in sources),
        simulated=any(source.simulated for source in sources),
    )
    head, warnings = Text(f"{data} {case_in_words(ended.case)}: ", "bold"), []
    for row in ended.rows:
        match result := row.result:
            case EpochResult():
                warnings += [Text(warning, "yellow") for warning in result.warnings]
            case EndedResult():
                head.append(f"{result.status}: {result.reason}", "red")
            case _:
                head.append(_figures(row), "default")
    if ended.was_done:
        head.append(" (done before)", "dim")
    return Group(head, *warnings)


def _figures(row: Row) -> str:
    """Return the result of a case by its row; "" where the row is no result."""
    match result := row.result:
        case TrainedResult():
            epochs = result.trained_epochs or row.training.epochs
            last, pace = f"{100 * result.test_accuracy:.2f} %", f"{result.seconds / epochs:.1f} s"
            return f"{last} after {counted(epochs, 'epoch')}, {pace} an epoch"
        case FittedResult():
            spent = f"{result.seconds:.1f} s to fit, {result.test_seconds:.1f} s to test"
            return f"{100 * result.test_accuracy:.2f} %; {spent}"
        case OperationsResult() if isinstance(row.case, Count):
            millions = sum(result.operations) / result.counted_samples / 1e6
            samples = counted(result.counted_samples, "test sample")
            return f"{millions:,.1f} million operations a sample, of {samples}"
        case _:
            return ""
