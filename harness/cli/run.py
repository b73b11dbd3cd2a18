"""`harness run`."""

from __future__ import annotations

from math import inf
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.app import DataRoot, Datasets, Frameworks, Networks, Out, app, frameworks_named
from harness.cli.options import LARGEST_DOWNLOAD_MIB
from harness.spec import Selection, UsageError

DEFAULT_BUDGET, QUICK_BUDGET = 540.0, 40.0  # seconds; the whole command takes a little longer
LEAST, QUICK_LEAST = 30.0, 5.0  # seconds of rounds that a cell gets whatever the budget


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
    from harness import suites
    from harness.system import processes

    experiment = suites.suite(suite)
    if executor == "local" and device != "cuda":
        processes.warm()
    from harness import jobs
    from harness.cli import work

    options.one_preset(quick=quick, paper=paper)
    selection = Selection(
        frameworks=frameworks_named(frameworks, experiment.frameworks),
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
    chosen = jobs.chosen(executor, ray_address, options.seconds("--silence", silence))
    cases = experiment.cases(selection)
    where = work.Where(data_root, False if quick and download is None else download, out_dir)
    if experiment.trains:
        if budget is not None:
            raise UsageError(
                f"the {suite} suite trains all its epochs: use --epochs, --samples or --width to "
                "make it shorter, and leave --budget out"
            )
        work.train(cases, where, chosen, fresh=fresh)
        return
    spend = inf if paper else QUICK_BUDGET if quick else DEFAULT_BUDGET
    if budget is not None:
        spend = options.seconds("--budget", budget)
    spending = work.Spending(
        spend, QUICK_LEAST if quick else LEAST, options.allocator(allocator), fresh
    )
    asked = work.Asked(framework=frameworks is not None, precision=precision is not None)
    work.measure(cases, where, chosen, spending, asked)
