"""The baselines of Tables 3 to 6 on our samples: accuracy, with the paper's networks."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import product

from harness import baselines
from harness.baselines import BaselineInfo
from harness.spec import (
    Contender,
    Effort,
    Fit,
    Options,
    Sampling,
    UsageError,
    Window,
    Workload,
    paper,
)
from harness.suites.trainings import USUAL, size_of

USELESS = (
    *("frameworks", "networks", "width", "neunorm", "precision", "batch_size", "inference"),
    *("tuned", "init", "neunorm_u", "dropout", "rate"),
)


def cases(options: Options) -> tuple[Fit, ...]:
    """Tables 3 to 6: the baselines, on our samples.

    Each has a case per data set, window, seed and, of the first T bins, T; cases are sorted by
    seed. Quick runs have only the published data set and window. Raises UsageError for an
    unknown baseline or data set, and for options that baselines have no use for.
    """
    options.refuse(*USELESS, why="has baselines, not networks")
    for name in options.datasets or ():
        paper.settings(name)
    for name in options.baselines or ():
        baselines.check_name(name)
    names = options.baselines or baselines.names()
    # the terminal's progress and --quick end where the quickest come first: as in the tables
    fits: list[Fit] = []
    for name in names:
        try:
            fits += _of_baseline(baselines.load(name), options)
        except UsageError:
            if options.baselines or name in baselines.OURS:
                raise  # else another package's fault: `harness list baselines` has its reason
    if not fits:
        raise UsageError(
            f"{', '.join(names)} cannot run on {', '.join(options.datasets or ())}: "
            "`harness list baselines` lists what each can take"
        )
    if not any(case.window == "first" for case in fits):
        options.refuse("steps", why="cuts nothing of these to its first T bins")
    return tuple(sorted(fits, key=lambda case: case.workload.seed))


def _of_baseline(baseline: BaselineInfo, options: Options) -> Iterator[Fit]:
    """Yield a baseline's cases: its data sets and windows, each seed and T."""
    effort: Effort = "quick" if options.quick else "paper" if options.paper else "default"
    named = options.datasets
    chosen = [name for name in baseline.datasets if named is None or name in named]
    windows: tuple[Window | None, ...] = baseline.windows or (None,)
    if options.quick:  # as published: that data set and that window are first
        chosen, windows = chosen[:1], windows[:1]
    for dataset, window in product(chosen, windows):
        size = size_of(options, dataset)
        width = Fraction(1) if effort == "paper" else size.width
        name, network = paper.network(USUAL[dataset], dataset, width=width)
        epochs = sum(options.epochs or (baseline.epochs.get(effort, 1),))
        samples = options.samples or size.samples
        sampling = Sampling(train=samples, test=size.test_samples, embedded=size.embedded)
        # one that draws nothing at random is run once, as seed 0
        seeds = (options.seeds or size.seeds[:3]) if baseline.random else size.seeds[:1]
        # of a whole recording, and of an image, T cuts nothing
        steps = options.steps if options.steps and window == "first" else (size.steps,)
        for seed, T in product(seeds, steps):
            workload = Workload(
                dataset=dataset, scale=name, network=network, width=width, T=T,
                batch_size=size.batch_size, seed=seed,
            )  # fmt: skip
            yield Fit(
                suite=options.suite, workload=workload, contender=Contender(baseline.name),
                sampling=sampling, epochs=epochs, tested_at=baseline.steps, effort=effort,
                window=window,
            )  # fmt: skip
