"""What `harness run` measures or trains, shown as it comes; the rows are kept by then."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from harness import datasets
from harness.analysis import tables
from harness.cli import endings, terminal
from harness.cli.console import err, out
from harness.cli.options import LARGEST_DOWNLOAD_MIB
from harness.jobs import Executor
from harness.records import Record, Store
from harness.spec import Allocator, Case
from harness.speed import schedule
from harness.training import trial


@dataclass(frozen=True)
class Where:
    """Where data are and may be fetched from, and where rows go."""

    data_root: Path | None
    download: bool | None  # None: what is not too large
    out: Path

    def fetched(self, cases: tuple[Case, ...]) -> frozenset[str]:
        """The data sets that may be fetched."""
        wanted = {case.dataset for case in cases}
        if self.download is None:
            sizes = datasets.DOWNLOAD_MIB
            wanted = {name for name in wanted if sizes[name] <= LARGEST_DOWNLOAD_MIB}
        elif not self.download:
            wanted = set()
        return frozenset(wanted)

    def store(self) -> Store:
        """The rows' folder. Raises UsageError where it cannot be written."""
        store = Store(self.out)
        store.check_writable()
        return store


@dataclass(frozen=True)
class Spending:
    """What timing may cost."""

    budget: float  # seconds, for all cells together
    least: float  # seconds of rounds that a cell gets whatever the budget
    allocator: Allocator
    fresh: bool = False  # measure anew what is done


@dataclass(frozen=True)
class Asked:
    """What the command line named: what is missing of it is a failure, and none is left out."""

    framework: bool
    precision: bool


def train(cases: tuple[Case, ...], where: Where, executor: Executor, *, fresh: bool) -> None:
    """Trains the cases of a suite. Exits with 1 where one failed."""
    plan = trial.Plan(
        out=where.out.resolve(),
        data_root=datasets.data_root(where.data_root),
        download=where.fetched(cases),
        fresh=fresh,
    )
    store = where.store()
    rows: list[Record] = []
    kept = f"what was trained is kept in {store.folder}; the same command goes on"
    with endings.kept(kept), terminal.progress(out) as say:
        for ended in executor.train(cases, store, plan, say):
            out.print(terminal.trained(ended))
            rows += ended.rows
    if any(row.kind == "trained" for row in rows):
        out.print(terminal.plain(tables.TABLES[cases[0].suite](rows)))
    _closing(rows, store, named=True)


def measure(
    cases: tuple[Case, ...], where: Where, executor: Executor, spending: Spending, asked: Asked
) -> None:
    """Times the cases of a suite. Exits as `train` does."""
    plan = schedule.Plan(
        budget=spending.budget,
        data_root=datasets.data_root(where.data_root),
        least=spending.least,
        download=where.fetched(cases),
        allocator=spending.allocator,
        fresh=spending.fresh,
    )
    store = where.store()
    if not asked.precision:
        every, cases = cases, schedule.suited(cases)
        if len(cases) < len(every):
            err.print("bf16 is left out: no instructions for it here; --precision bf16 measures it")
    measured: dict[Case, schedule.Measured] = {}
    see = f"see it with `harness tables acceleration --out {where.out}`"
    kept = f"what was measured is kept in {store.folder}; {see}"
    with endings.kept(kept), terminal.progress(out) as say:
        for event in executor.measure(cases, store, plan, say):
            if event.before:
                out.print("measured before (--fresh measures it anew):", style="dim")
            elif event.cell in measured:
                out.print(f"with {event.rounds} rounds:", style="dim")
            measured[event.cell] = event
            out.print(terminal.acceleration(tables.acceleration(event.rows)))
    rows = [row for event in measured.values() for row in event.rows]
    _closing(rows, store, named=asked.framework)


def _closing(rows: list[Record], store: Store, *, named: bool) -> None:
    """What a run ends with: failures, the noise floor, where the rows are; exit 1 on a failure."""
    for row in rows:
        if row.kind == "warning":
            err.print(f"{row.dataset} {row.scale}: {row.reason}")
    ended = [row for row in rows if row.kind == "case" and row.status != "ok"]
    for reason in dict.fromkeys(row.reason or "" for row in ended if row.status == "missing"):
        err.print(f"left out: {reason}")
    noise = tables.noise_of(rows)
    if noise is not None:
        out.print(
            f"A/A over the whole run: {noise.value:.3f} [{noise.low:.3f}, {noise.high:.3f}], "
            f"{noise.rounds} rounds: a difference within this is noise.",
            markup=False,
        )
    out.print(f"{len(rows)} rows in {store.folder}", markup=False, highlight=False)
    bad = [row for row in ended if row.status == "failed" or (named and row.status == "missing")]
    if bad:
        err.print(f"{len(bad)} cases came to nothing; the table says why")
        raise typer.Exit(1)
