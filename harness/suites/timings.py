"""The suites that train nothing: iterations are timed, operations of inferences are counted."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product

from harness.spec import (
    ANN,
    FORMS,
    Contender,
    Count,
    NamedNetwork,
    Options,
    Precision,
    Timing,
    UsageError,
    Workload,
    paper,
)

BATCH_SIZE = 20  # as in Fig. 3
STEPS, SEEDS = (10,), (0,)
QUICK_DATASETS = ("cifar10",)  # all three take more than the two minutes of a first look
# These run in bf16 too where no precision is asked for: our own engine. A first look has no time
# for the training that bf16 must pass.
MIXED = ("fused",)
# A default run is long without them: Octave's convolutions take minutes, or are scaled.
OPT_IN = ("jax", "octave", "sinabs")
LAYER_OPT_IN = ("octave",)
# The sizes, steps and batch of Open Neuromorphic's comparison.
LAYERS, LAYER_STEPS, LAYER_BATCH = ("256", "1024", "4096", "16384"), 500, 16
MOST_NEURONS = 65536
# The variant with the framework's own neuron and its defaults, of those whose neuron is another.
OWN_NEURON = {"norse": "super", "snntorch": "defaults", "spikingjelly": "defaults"}
OWN_NEURON |= {"sinabs": "defaults"}
OF_TRAININGS = ("epochs", "rate", "samples", "neunorm_u", "dropout")
COUNTED, QUICK_COUNTED = 100, 20  # test samples
QUICK_WIDTH = Fraction(1, 8)


def acceleration(options: Options) -> tuple[Timing, ...]:
    """Fig. 3: training time per epoch of the networks of Table 1, on the three data sets.

    One case per network, data set, T, seed and contender; small networks first: rows come early.
    Raises UsageError for an unknown data set or network and for options of trainings,
    NotationError for a wrong notation.
    """
    options.refuse(*OF_TRAININGS, why="times iterations and trains nothing")
    return _timings(options, _workloads(options, Fraction(1), BATCH_SIZE), _contenders(options))


def layer(options: Options) -> tuple[Timing, ...]:
    """One fully connected layer and its neurons, over 500 steps: what other comparisons time.

    Random spikes, 256 to 16,384 neurons; each contender in the paper's neuron, and the frameworks
    that have another of their own in that one too, with its defaults: a different function, which
    its rows say. `--networks 1024` names the neurons of a layer.

    Raises UsageError for options that a layer has no use for.
    """
    no_use = "width", "neunorm", "datasets"
    options.refuse(*OF_TRAININGS, *no_use, why="times one layer on random spikes")
    sizes = map(_neurons, options.networks or LAYERS[: 1 if options.quick else None])
    contenders = _contenders(options)
    plain = [by for by in contenders if by.suffix is None and by.precision != "bf16"]
    others = [replace(by, variant=OWN_NEURON[by.name]) for by in plain if by.name in OWN_NEURON]
    workloads = [
        NamedNetwork(f"{size} neurons", network, Fraction(1)).on(
            dataset, T=T, batch_size=options.batch_size or LAYER_BATCH, seed=seed,
            initialisation=options.init,
        )
        for size in sizes
        for dataset, network in [paper.layer(size)]
        for T, seed in product(options.steps or (LAYER_STEPS,), options.seeds or SEEDS)
    ]  # fmt: skip
    return _timings(options, workloads, dict.fromkeys((*contenders, *others)))


def _neurons(name: str) -> int:
    """Return a layer's size: "256" or "256 neurons". Raises UsageError for anything else."""
    text, classes = name.removesuffix(" neurons"), paper.LAYER_CLASSES
    size = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    if not 0 < size <= MOST_NEURONS or size % classes:
        raise UsageError(
            f"--networks: {name[:40]!r} is no layer, give a number of neurons: a multiple of "
            f"{classes} up to {MOST_NEURONS}"
        )
    return size


def energy(options: Options) -> tuple[Count, ...]:
    """Count what an inference of a sample costs in operations.

    The networks of Table 1 on the three data sets with their initial weights, each with the
    network of the same structure without spikes; small networks first. A network from a file has
    the file's weights.

    Raises UsageError for an unknown data set or network, and for options that an inference has no
    use for; NotationError for a wrong notation.
    """
    options.refuse(*OF_TRAININGS, "tuned", "inference", why="infers, and trains nothing")
    usual, width = (QUICK_COUNTED, QUICK_WIDTH) if options.quick else (COUNTED, Fraction(1))
    counts = list[Count]()
    for workload in _workloads(options, width, usual):
        bare = replace(
            workload, network=replace(workload.network, neunorm=None), weights_sha256=None
        )
        precision = options.precision or "fp32"
        contenders = [(workload, name) for name in options.frameworks or ()]
        counts += [
            Count(
                suite=options.suite,
                workload=counted,
                device=options.device,
                contender=Contender.parse(name, precision),
            )  # fmt: skip
            for counted, name in (*contenders, (bare, ANN))
        ]
    return tuple(counts)


def _timings(
    options: Options, workloads: Iterable[Workload], contenders: Collection[Contender]
) -> tuple[Timing, ...]:
    """Return a timing of each contender on each workload."""
    return tuple(
        Timing(
            suite=options.suite,
            workload=workload,
            contender=contender,
            device=options.device,
            optimiser=paper.settings(workload.dataset).optimiser,
            mode=options.mode,
        )
        for workload, contender in product(workloads, contenders)
    )


def _workloads(options: Options, width: Fraction, usual_batch: int) -> Iterator[Workload]:
    """Yield the networks on their data sets, for each T and seed."""
    scales = options.networks or (paper.SCALES[:1] if options.quick else paper.SCALES)
    datasets = options.datasets or (QUICK_DATASETS if options.quick else tuple(paper.SETTINGS))
    for scale, dataset in product(scales, datasets):
        chosen = options.network(scale, dataset, neunorm=options.reading, width=width)
        for T, seed in product(options.steps or STEPS, options.seeds or SEEDS):
            yield chosen.on(
                dataset, T=T, batch_size=options.batch_size or usual_batch, seed=seed,
                initialisation=options.init,
            )  # fmt: skip


def _contenders(options: Options) -> list[Contender]:
    """Return what runs, and in which precision; with `tuned` other forms as well."""
    precision = options.precision or "fp32"
    named = [Contender.parse(name, precision) for name in options.frameworks or ()]
    mixed = [by for by in named if by.name in MIXED]
    other: list[Precision] = [] if options.precision or options.quick else ["bf16"]
    contenders = [*named, *(replace(by, precision=p) for by, p in product(mixed, other))]
    if options.tuned:
        plain = [by for by in named if by.suffix is None and by not in mixed]
        forms = [replace(by, form=form) for by, form in product(plain, FORMS)]
        contenders += [replace(by, precision=p) for p in (precision, *other) for by in forms]
    return contenders
