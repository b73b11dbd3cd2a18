"""`harness run`."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli import files, options
from harness.cli.options import LARGEST_DOWNLOAD_MIB, RESULTS, Device, Names, Numbers
from harness.spec import (
    Budget,
    Initialisation,
    Precision,
    Reading,
    Selection,
    Timed,
    UsageError,
)

if TYPE_CHECKING:  # torch's import takes seconds
    from harness.suites import Suite

DEFAULT_BUDGET, QUICK_BUDGET = 1200.0, 60.0  # seconds
QUICK_ROUNDS = 2  # that a cell gets whatever the budget: a first look, and nobody is ranked


def run(
    suite: Annotated[
        str,
        typer.Option(
            "--suite",
            metavar="acceleration|timesteps|scale|neunorm|accuracy|ablations|baselines|energy",
            help="The experiment; `harness list suites` says what each is.",
        ),
    ],
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Timing: 90 s on two cores. Training: digits, in minutes."),
    ] = False,
    long: Annotated[
        bool,
        typer.Option("--long", help="Training: until it has converged, in hours."),
    ] = False,
    paper: Annotated[
        bool,
        typer.Option("--paper", help="The paper's own size; training needs a CUDA device."),
    ] = False,
    frameworks: options.Frameworks = None,
    baselines: options.Baselines = None,
    networks: options.Networks = None,
    datasets: options.Datasets = None,
    steps: Annotated[
        Numbers | None,
        typer.Option("--steps", help="Time steps, T.", metavar="N,...", parser=options.numbers(1)),
    ] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", metavar="N", min=1)] = None,
    precision: Annotated[
        Precision | None,
        typer.Option("--precision", metavar="fp32|bf16|fp64", help="Default: fp32."),
    ] = None,
    device: Annotated[Device, typer.Option("--device", metavar="auto|cpu|cuda")] = "auto",
    seeds: Annotated[
        Numbers | None, typer.Option("--seeds", metavar="N,...", parser=options.numbers(0))
    ] = None,
    epochs: Annotated[int | None, typer.Option("--epochs", metavar="N", min=1)] = None,
    samples: Annotated[
        int | None,
        typer.Option("--samples", help="Training samples, drawn once.", metavar="N", min=1),
    ] = None,
    width: options.Width = None,
    neunorm: Annotated[
        Reading | None,
        typer.Option("--neunorm", help="With NeuNorm, read in this way.", metavar="mean|literal"),
    ] = None,
    init: Annotated[
        Initialisation, typer.Option("--init", help="Initial weights.", metavar="calibrated|torch")
    ] = "calibrated",
    inference: Annotated[
        bool, typer.Option("--inference", help="Time forward passes, not training steps.")
    ] = False,
    tuned: Annotated[
        bool,
        typer.Option("--tuned", help="Each framework channels-last, compiled, and in bf16 too."),
    ] = False,
    budget: Annotated[
        float | None,
        typer.Option(
            "--budget", help="Time to spend, about.", metavar="10m", parser=options.seconds
        ),
    ] = None,
    data_root: options.DataRoot = None,
    download: Annotated[
        bool | None,
        typer.Option(
            "--download/--no-download",
            help=f"Fetch missing data. Default: up to {LARGEST_DOWNLOAD_MIB} MiB a data set, "
            "nothing with --quick.",
        ),
    ] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Measure again what is done or begun; old rows stay.")
    ] = False,
    keep_weights: Annotated[
        bool,
        typer.Option("--keep-weights", help="Training: also the weights, in OUT/weights."),
    ] = False,
    executor: Annotated[
        Literal["local", "ray"],
        typer.Option("--executor", metavar="local|ray", help="Where cases run."),
    ] = "local",
    out_dir: options.Out = RESULTS,
) -> None:
    """Measure a suite; each row is kept under OUT/records as it comes."""
    options.one_preset(quick=quick, long=long, paper=paper)
    experiment = _experiment(suite, budget, baselines, long=long)
    read = files.named(networks, suite, keep_weights=keep_weights)
    if experiment.trains and executor == "local" and device != "cuda":
        from harness.system import child

        child.warm()
    from harness import jobs
    from harness.cli import measuring

    selection = Selection(
        frameworks=options.frameworks_named(frameworks, experiment, quick=quick),
        datasets=datasets,
        networks=networks,
        files=tuple(each.file for each in read),
        steps=steps,
        seeds=seeds,
        epochs=epochs,
        samples=samples,
        batch_size=batch_size,
        precision=precision,
        device=options.device(device),
        width=width,
        neunorm=neunorm,
        initialisation=init,
        quick=quick,
        long=long,
        paper=paper,
        mode="inference" if inference else "training",
        baselines=baselines,
        tuned=tuned,
    )
    chosen = jobs.executor(executor)
    # a network by its name and in another spelling of it is the same case
    cases = tuple(dict.fromkeys(experiment.cases(selection)))
    files.keep(read, out_dir)
    where = measuring.Where(data_root, _fetch(download, quick=quick), out_dir, fresh, keep_weights)
    if experiment.trains:
        measuring.train(cases, where, chosen)
        return
    spending = _budget(budget, quick=quick, paper=paper)
    asked = measuring.Asked(framework=frameworks is not None, precision=precision is not None)
    timed = tuple(case for case in cases if isinstance(case, Timed))
    measuring.measure(timed, where, chosen, spending, asked)


def _fetch(download: bool | None, *, quick: bool) -> bool | None:
    """Whether missing data may be fetched; None: what is not too large."""
    return False if quick and download is None else download


def _experiment(suite: str, budget: float | None, baselines: Names | None, *, long: bool) -> Suite:
    """The suite of that name. Raises UsageError where there is none, where a time does not bound
    it, and where it has no other systems or no long trainings.
    """
    from harness import suites

    experiment = suites.suite(suite)
    if baselines and suite != "baselines":
        raise UsageError(f"the {suite} suite has no other systems: leave --baselines out")
    if long and not experiment.long:
        raise UsageError(f"the {suite} suite has no trainings of --long: leave it out")
    if experiment.trains and budget is not None:
        raise UsageError(
            f"the {suite} suite does each case to its end: use {experiment.shorter} to make it "
            "shorter, and leave --budget out"
        )
    return experiment


def _budget(seconds: float | None, *, quick: bool, paper: bool) -> Budget:
    if seconds is None:
        seconds = inf if paper else QUICK_BUDGET if quick else DEFAULT_BUDGET
    if quick:
        return Budget(seconds=seconds, rounds=QUICK_ROUNDS)
    return Budget(seconds=seconds)
