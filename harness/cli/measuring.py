"""What `harness run` measures or trains, shown as it comes; the rows are kept by then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from harness import datasets
from harness.analysis import tables
from harness.analysis.rounds import STEADY, is_steady
from harness.analysis.speed import acceleration_lines
from harness.cli import endings, terminal
from harness.cli.console import err, out
from harness.cli.options import LARGEST_DOWNLOAD_MIB
from harness.jobs import Executor, Timed
from harness.records import EndedRow, FittedRow, Row, Store, TrainedRow, WarningRow
from harness.spec import Access, Budget, Case, cells
from harness.speed import plan
from harness.system import machine


@dataclass(frozen=True)
class Where:
    """Where data are and may be fetched from, and where rows go."""

    data_root: Path | None
    download: bool | None  # None: what is not too large
    out: Path
    fresh: bool = False  # measure anew what is done

    def access(self, cases: tuple[Case, ...]) -> Access:
        """The data root, and the data sets that may be fetched into it."""
        wanted = {case.dataset for case in cases}
        if self.download is None:
            sizes = datasets.DOWNLOAD_MIB
            wanted = {name for name in wanted if sizes[name] <= LARGEST_DOWNLOAD_MIB}
        elif not self.download:
            wanted = set()
        return Access(datasets.data_root(self.data_root), frozenset(wanted), self.fresh)

    def store(self) -> Store:
        """The rows' folder. Raises UsageError where it cannot be written."""
        store = Store(self.out.resolve())
        store.check_writable()
        return store


@dataclass(frozen=True)
class Asked:
    """What the command line named: what is missing of it is a failure, and none is left out."""

    framework: bool
    precision: bool


def train(cases: tuple[Case, ...], where: Where, executor: Executor) -> None:
    """Trains the cases of a suite. Exits with 1 where one failed."""
    access, store = where.access(cases), where.store()
    rows: list[Row] = []
    kept = f"what was trained is kept in {where.out / 'records'}; the same command goes on"
    with endings.kept(kept), terminal.progress(out) as say:
        for ended in executor.train(cases, store, access, say):
            out.print(terminal.trained(ended))
            rows += ended.rows
    if any(isinstance(row, TrainedRow | FittedRow) for row in rows):
        suite = cases[0].suite
        shown = terminal.systems if suite == "baselines" else terminal.plain
        out.print(shown(tables.TABLES[suite](rows)))
    _closing(rows, where.out, named=True)


def measure(
    cases: tuple[Case, ...], where: Where, executor: Executor, budget: Budget, asked: Asked
) -> None:
    """Times the cases of a suite. Exits as `train` does."""
    access, store = where.access(cases), where.store()
    if not asked.precision:
        every, cases = cases, machine.suited(cases)
        if len(cases) < len(every):
            err.print("bf16 is left out: no instructions for it here; --precision bf16 measures it")
    measured: dict[Case, Timed] = {}
    see = f"see it with `harness tables acceleration --out {where.out}`"
    kept = f"what was measured is kept in {where.out / 'records'}; {see}"
    with endings.kept(kept), terminal.progress(out) as say:
        minutes = max(1, round(plan.seconds(cases, budget) / 60))
        out.print(f"{_counted(cases)}: about {minutes} min", highlight=False)
        for event in executor.measure(cases, store, access, budget, say):
            if event.before:
                out.print("measured before (--fresh measures it anew):", style="dim")
            elif event.cell in measured:
                out.print(f"with {event.rounds} rounds:", style="dim")
            measured[event.cell] = event
            so_far = [row for each in measured.values() for row in each.rows]
            lines = acceleration_lines([*event.rows, *event.descents], among=so_far)
            out.print(terminal.acceleration(lines))
    events = measured.values()
    say_noise([row for event in events if not event.before for row in event.rows])
    rows = [row for event in events for row in event.rows]
    _closing(rows, where.out, named=asked.framework)


def _counted(cases: tuple[Case, ...]) -> str:
    several = len(cells(cases)) > 1
    return f"{len(cells(cases))} {'cells' if several else 'cell'}, {len(cases)} contenders"


def say_noise(rows: list[Row]) -> None:
    """The A/A of what this run timed, and whether it may rank anybody."""
    noise = tables.noise_of(rows)
    if noise is None:
        return
    out.print(
        f"A/A over the whole run: {noise.value:.3f} [{noise.low:.3f}, {noise.high:.3f}], "
        f"{noise.rounds} rounds: a difference within this is noise.",
        markup=False,
    )
    if not is_steady(noise):
        low, high = STEADY
        out.print(
            f"That is not within {low} to {high}: this run ranks nobody. Measure again (--fresh) "
            "on a quieter machine, or with more rounds (--budget).",
            markup=False,
        )


def _closing(rows: list[Row], folder: Path, *, named: bool) -> None:
    """What a run ends with: failures, and where the rows are; exit 1 on a failure."""
    for row in rows:
        if isinstance(row, WarningRow):
            err.print(f"{row.dataset} {row.scale}: {row.reason}")
    ended = [row for row in rows if isinstance(row, EndedRow)]
    for reason in dict.fromkeys(row.reason for row in ended if row.status == "missing"):
        err.print(f"left out: {reason}")
    out.print(f"{len(rows)} rows in {folder / 'records'}", markup=False, highlight=False)
    failures = ("failed", "not comparable", *(("missing",) if named else ()))
    bad = [row for row in ended if row.status in failures]
    if bad:
        err.print(f"{len(bad)} cases came to nothing; the table says why")
        raise typer.Exit(1)
