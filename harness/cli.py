"""The command line. It only selects and shows; torch is imported by the commands that need it."""

from __future__ import annotations

import sys
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from harness import options
from harness.console import err, out
from harness.options import LARGEST_DOWNLOAD_MIB
from harness.spec import Selection, UsageError

if TYPE_CHECKING:
    from harness.records import Damage, Record

DEFAULT_BUDGET, QUICK_BUDGET = 540.0, 40.0  # seconds; the whole command takes a little longer
LEAST, QUICK_LEAST = 30.0, 5.0  # seconds of rounds that a cell gets whatever the budget

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Honest comparison of spiking-neural-network frameworks on the networks of Wu et al., "
    "AAAI 2019: every contender is proved equal before it is timed.",
)

Frameworks = Annotated[
    str | None,
    typer.Option("--frameworks", help="Default: all known.", metavar="NAME[:VARIANT],..."),
]
Networks = Annotated[
    str | None,
    typer.Option("--networks", help="Default: Table 1's.", metavar="NAME|NOTATION,..."),
]
Datasets = Annotated[
    str | None, typer.Option("--datasets", help="Default: all three.", metavar="NAME,...")
]
DataRoot = Annotated[
    str | None,
    typer.Option(
        "--data-root", help="Default: HARNESS_DATA, else the user's cache.", metavar="DIR"
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder of the results.", metavar="DIR")]


@app.command()
def run(
    suite: Annotated[
        str,
        typer.Option(
            "--suite", metavar="acceleration|timesteps|scale|neunorm|accuracy", help="Which."
        ),
    ],
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Timing: 90 s on two cores. Training: digits, in minutes."),
    ] = False,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="The paper's own size; training needs a CUDA device."),
    ] = False,
    frameworks: Frameworks = None,
    networks: Networks = None,
    datasets: Datasets = None,
    steps: Annotated[str | None, typer.Option("--steps", help="T.", metavar="N,...")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", metavar="N")] = None,
    precision: Annotated[
        str | None, typer.Option("--precision", metavar="fp32|bf16|fp64", help="Default: fp32.")
    ] = None,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda")] = "auto",
    seeds: Annotated[str | None, typer.Option("--seeds", metavar="N,...")] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", metavar="N")] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", help="Training samples, drawn once.", metavar="N"),
    ] = None,
    width: Annotated[
        str | None, typer.Option("--width", help="Scales channels and features.", metavar="1/8")
    ] = None,
    neunorm: Annotated[
        str | None, typer.Option("--neunorm", help="On, as read.", metavar="mean|literal")
    ] = None,
    init: Annotated[
        str, typer.Option("--init", help="First weights.", metavar="calibrated|torch")
    ] = "calibrated",
    inference: Annotated[
        bool, typer.Option("--inference", help="Time forward passes, not training steps.")
    ] = False,
    tuned: Annotated[
        bool,
        typer.Option("--tuned", help="Frameworks channels-last, compiled and in bf16 as well."),
    ] = False,
    budget: Annotated[
        str | None, typer.Option("--budget", help="Time to spend, about.", metavar="10m")
    ] = None,
    allocator: Annotated[
        str,
        typer.Option(
            "--allocator", help="Whether freed memory stays with us.", metavar="keep|system"
        ),
    ] = "keep",
    data_root: DataRoot = None,
    download: Annotated[
        bool | None,
        typer.Option(
            "--download/--no-download",
            help=f"Fetch missing data. Default: up to {LARGEST_DOWNLOAD_MIB} MiB a data set, "
            "nothing with --quick.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure anew what is done or begun; old rows stay.")
    ] = False,
    executor: Annotated[
        str, typer.Option("--executor", metavar="local|ray|slurm", help="Where cases run.")
    ] = "local",
    ray_address: Annotated[
        str | None,
        typer.Option("--ray-address", help="Of a cluster; default: this machine.", metavar="ADDR"),
    ] = None,
    silence: Annotated[
        str,
        typer.Option(
            "--silence", help="A case that says nothing for longer is ended.", metavar="15m"
        ),
    ] = "15m",
    out_dir: Out = Path("results"),
) -> None:
    """Measure a suite; each row is kept under OUT/records as it comes."""
    from harness import processes, suites

    experiment = suites.suite(suite)
    if executor == "local" and device != "cuda":
        processes.warm()
    from harness import executors, running

    if quick and paper:
        raise UsageError("--quick and --paper exclude each other: give one")
    selection = Selection(
        frameworks=_frameworks(frameworks, experiment.frameworks),
        datasets=options.names(datasets),
        networks=options.names(networks),
        steps=options.numbers("--steps", steps, least=1),
        seeds=options.numbers("--seeds", seeds, least=0),
        epochs=options.at_least(1, "--epochs", epochs),
        samples=options.at_least(1, "--samples", samples),
        batch_size=options.at_least(1, "--batch-size", batch_size),
        precision=None if precision is None else options.precision(precision),
        device=options.device(device),
        width=None if width is None else options.width(width),
        neunorm=options.reading(neunorm),
        initialisation=options.initialisation(init),
        quick=quick,
        paper=paper,
        mode="inference" if inference else "training",
        tuned=tuned,
    )
    chosen = executors.chosen(executor, ray_address, options.seconds("--silence", silence))
    cases = experiment.cases(selection)
    where = running.Where(data_root, False if quick and download is None else download, out_dir)
    if experiment.trains:
        if budget is not None:
            raise UsageError(
                f"the {suite} suite trains all its epochs: use --epochs, --samples or --width to "
                "make it shorter, and leave --budget out"
            )
        running.train(cases, where, chosen, fresh=fresh)
        return
    spend = inf if paper else QUICK_BUDGET if quick else DEFAULT_BUDGET
    if budget is not None:
        spend = options.seconds("--budget", budget)
    spending = running.Spending(
        spend, QUICK_LEAST if quick else LEAST, options.allocator(allocator), fresh
    )
    asked = running.Asked(framework=frameworks is not None, precision=precision is not None)
    running.measure(cases, where, chosen, spending, asked)


def _frameworks(text: str | None, usual: tuple[str, ...] | None) -> tuple[str, ...]:
    import adapters

    chosen = options.names(text) or usual or adapters.names()
    for name in chosen:
        adapters.check_name(name)
        if ":" in name:
            with suppress(adapters.Missing):  # a row says so
                adapters.load(name)  # its variants are known once it is loaded
    return chosen


@app.command()
def check(
    frameworks: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ADAPTER]...", help="Default: all, with variants."),
    ] = None,
    networks: Networks = None,
    datasets: Datasets = None,
    width: Annotated[
        str, typer.Option("--width", help="Scales channels and features.", metavar="1/8")
    ] = "1/8",
    data_root: DataRoot = None,
) -> None:
    """Prove adapters equal to the reference, layer by layer; exit 1 if one claiming it is not."""
    from harness import checking, terminal

    scope = checking.Scope(
        options.names(networks), options.names(datasets), options.width(width), data_root
    )
    failed = False
    for result in checking.examined(tuple(frameworks or ()), scope):
        out.print(terminal.examined(result))
        failed |= result.failed
    if failed:
        raise typer.Exit(1)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="suites|frameworks|networks|datasets|claims")],
) -> None:
    """List what can be chosen."""
    from harness import listing, terminal

    out.print(terminal.rows(*listing.listing(what)))


@app.command("tables")
def tables_(
    name: Annotated[
        str, typer.Argument(metavar="3|4|5|6|acceleration|scale|timesteps|neunorm|accuracy")
    ],
    out_dir: Out = Path("results"),
    form: Annotated[str, typer.Option("--format", metavar="text|md|csv|html")] = "text",
) -> None:
    """Build a table from the rows under OUT/records."""
    from harness import tables, terminal

    if name not in tables.TABLES:
        raise UsageError(f"unknown table {name!r}, choose from {', '.join(tables.TABLES)}")
    if form not in ("text", "md", "csv", "html"):
        raise UsageError(f"unknown format {form!r}, choose from text, md, csv, html")
    suite = tables.SUITE_OF.get(name, name)
    rows = _rows(out_dir, suite)
    if not any(row.suite == suite for row in rows):
        raise UsageError(
            f"no rows of {suite} under {out_dir / 'records'}: first run "
            f"`harness run --suite {suite} --out {out_dir}`"
        )
    table = tables.TABLES[name](rows)
    if form == "text":
        named = {"acceleration": terminal.acceleration}
        show = terminal.paper if name in tables.SUITE_OF else named.get(name, terminal.plain)
        out.print(show(table))
    else:
        sys.stdout.write(tables.markup(table, form))


@app.command()
def report(
    out_dir: Out = Path("results"),
    readme: Annotated[
        Path | None,
        typer.Option("--readme", help="Also renew the tables between its marks.", metavar="FILE"),
    ] = None,
) -> None:
    """Write OUT/report.html and OUT/tables/ from the rows under OUT/records."""
    from harness import report as reporting

    for path in reporting.write(_rows(out_dir, "acceleration"), out_dir, readme):
        out.print(str(path), markup=False, highlight=False)


@app.command()
def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="Folder of results.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Folder of results.")],
    fail_above: Annotated[
        str | None,
        typer.Option("--fail-above", help="Exit 1 on a larger change for the worse.", metavar="5%"),
    ] = None,
) -> None:
    """Compare two result folders; a change is called only where it stands out of the noise."""
    from harness import compare as comparing
    from harness import terminal

    limit = None if fail_above is None else options.percent("--fail-above", fail_above)
    found = comparing.compare(*(_rows(folder, "acceleration") for folder in (old, new)))
    if not found.changes:
        raise UsageError(f"{old} and {new} have no cell in common: nothing can be compared")
    out.print(terminal.comparison(found))
    worse = found.beyond(limit) if limit is not None else []
    if worse:
        err.print(f"{len(worse)} changes for the worse are above {fail_above}", markup=False)
        raise typer.Exit(1)


@app.command()
def status(
    suite: Annotated[
        str | None,
        typer.Option("--suite", help="Default: all.", metavar="acceleration|timesteps|..."),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Of the cases of --quick.")] = False,
    paper: Annotated[bool, typer.Option("--paper", help="Of the cases of --paper.")] = False,
    device: Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda")] = "auto",
    out_dir: Out = Path("results"),
) -> None:
    """Say which cases of the suites are done, failed or missing, and how long the rest takes."""
    from harness import runner, suites, terminal
    from harness import status as standing
    from harness.records import Store

    if quick and paper:
        raise UsageError("--quick and --paper exclude each other: give one")
    place = options.device(device)
    cases = []
    for name in [suite] if suite else suites.SUITES:
        of = suites.suite(name)
        if paper and of.trains and place == "cpu":
            continue  # they are not for a CPU
        frameworks = _frameworks(None, of.frameworks)
        cases += of.cases(Selection(frameworks, device=place, quick=quick, paper=paper))
    records, damaged = Store(out_dir).read()
    _name_damage(damaged)
    found = standing.standings(runner.suited(cases), records, runner.here(place))
    out.print(terminal.standing(found))


@app.command()
def verify(
    records: Annotated[Path, typer.Argument(metavar="RECORDS", help="Folder of results.")],
    sample: Annotated[
        int, typer.Option("--sample", help="Trainings, and cells, to measure again.", metavar="N")
    ] = 2,
    epochs: Annotated[
        int, typer.Option("--epochs", help="Of a training, the first ones.", metavar="N")
    ] = 1,
    seed: Annotated[int, typer.Option("--seed", help="Draws the sample.", metavar="N")] = 0,
    budget: Annotated[
        str, typer.Option("--budget", help="Time for each cell, about.", metavar="30s")
    ] = "30s",
    data_root: DataRoot = None,
) -> None:
    """Measure a sample of recorded cases again, and say which figures are confirmed."""
    from harness import again, running
    from harness.records import Store

    rows = _rows(Store.around(records).out, "acceleration")
    wanted = again.Sample(
        cases=options.at_least(1, "--sample", sample) or 1,
        seed=options.at_least(0, "--seed", seed) or 0,
        epochs=options.at_least(1, "--epochs", epochs) or 1,
        budget=options.seconds("--budget", budget),
    )
    running.verify(rows, wanted, data_root)


def _name_damage(damaged: list[Damage]) -> None:
    for damage in damaged:
        err.print(str(damage), markup=False)
    if damaged:
        err.print(f"{len(damaged)} lines were no rows and were skipped", markup=False)


def _rows(folder: Path, suite: str) -> list[Record]:
    """All rows of a result folder; what is no row is named and skipped.

    Raises UsageError where there are none; `suite` is what to run first.
    """
    from harness.records import Store

    rows, damaged = Store(folder).read()
    _name_damage(damaged)
    if not rows:
        raise UsageError(
            f"no rows of {suite} under {folder / 'records'}: first run "
            f"`harness run --suite {suite} --out {folder}`"
        )
    return rows


@app.command()
def doctor(data_root: DataRoot = None) -> None:
    """Say what is here: versions, threads, devices, data, and how to get what is missing."""
    from harness import listing, terminal

    for title, columns, lines in listing.doctor(data_root):
        out.print(terminal.rows(columns, lines, title))


def main() -> None:
    """The console script. Wrong usage is one line on stderr and exit code 2, with no traceback."""
    # Typer carries click's classes since 0.26 and imports click's own before: this is either's base
    wrong_call = cast(type[Exception], typer.BadParameter.__mro__[2])
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        err.print(f"harness: {error}", markup=False, highlight=False, soft_wrap=True)
        code = 2
    except wrong_call as error:
        message = " ".join(error.format_message().split())  # type: ignore[attr-defined]
        err.print(f"harness: {message}", markup=False, highlight=False, soft_wrap=True)
        code = 2
    sys.exit(code if isinstance(code, int) else 0)
