"""The suites that train nothing: iterations are timed, operations of inferences are counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product

from harness.spec import ANN, FORMS, Options, Precision, Timed, contender, paper

BATCH_SIZE = 20  # as in Fig. 3
STEPS, SEEDS = (10,), (0,)
QUICK_DATASETS = ("cifar10",)  # all three take more than the two minutes of a first look
# These run in bf16 too where no precision is asked for: our own engine. A first look has no time
# for the training that bf16 must pass.
MIXED = ("fused",)
# A default run is long without them: Octave's convolutions take minutes, or are scaled.
OPT_IN = ("jax", "octave", "sinabs")
Form = tuple[str, Precision]  # a framework's, and the precision it runs in
OF_TRAININGS = ("epochs", "rate", "samples", "neunorm_u", "dropout")
COUNTED, QUICK_COUNTED = 100, 20  # test samples
QUICK_WIDTH = Fraction(1, 8)


def acceleration(options: Options) -> tuple[Timed, ...]:
    """Fig. 3: training time per epoch of the networks of Table 1, on the three data sets.

    One case per network, data set, T, seed and contender; small networks first: rows come early.
    Raises UsageError for an unknown data set or network and for options of trainings,
    NotationError for a wrong notation.
    """
    options.refuse(*OF_TRAININGS, why="times iterations and trains nothing")
    return tuple(
        replace(cell, framework=name, precision=precision)
        for cell in _cells(options, Fraction(1), BATCH_SIZE)
        for name, precision in _forms(options)
    )


def energy(options: Options) -> tuple[Timed, ...]:
    """Count what an inference of a sample costs in operations.

    The networks of Table 1 on the three data sets with their initial weights, each with the
    network of the same structure without spikes; small networks first. A network from a file has
    the file's weights.

    Raises UsageError for an unknown data set or network, and for options that an inference has no
    use for; NotationError for a wrong notation.
    """
    options.refuse(*OF_TRAININGS, "tuned", "inference", why="infers, and trains nothing")
    usual, width = (QUICK_COUNTED, QUICK_WIDTH) if options.quick else (COUNTED, Fraction(1))
    found = list[Timed]()
    for cell in _cells(replace(options, inference=True), width, usual):
        found += [replace(cell, framework=name) for name in options.frameworks or ()]
        bare = replace(cell.network, neunorm=None)
        found.append(replace(cell, framework=ANN, network=bare, weights_sha256=None))
    return tuple(found)


def _cells(options: Options, width: Fraction, usual_batch: int) -> Iterator[Timed]:
    """Yield the networks on their data sets, for each T and seed; the framework is to come."""
    scales = options.networks or (paper.SCALES[:1] if options.quick else paper.SCALES)
    datasets = options.datasets or (QUICK_DATASETS if options.quick else tuple(paper.SETTINGS))
    for scale, dataset in product(scales, datasets):
        chosen = options.network(scale, dataset, neunorm=options.reading, width=width)
        for T, seed in product(options.steps or STEPS, options.seeds or SEEDS):
            yield Timed(
                **vars(chosen), suite=options.suite, dataset=dataset, framework="", T=T,
                batch_size=options.batch_size or usual_batch, device=options.device, seed=seed,
                precision=options.precision or "fp32", optimiser=paper.settings(dataset).optimiser,
                initialisation=options.init, mode=options.mode,
            )  # fmt: skip


def _forms(options: Options) -> list[Form]:
    """Return what runs, and in which precision; with `tuned` other forms as well."""
    names, precision = options.frameworks or (), options.precision or "fp32"
    mixed: list[Precision] = [] if options.precision or options.quick else ["bf16"]
    contenders = [*product(names, [precision]), *product((n for n in names if n in MIXED), mixed)]
    if options.tuned:
        plain = [name for name in names if ":" not in name]
        forms = [contender(name, form) for name in plain if name not in MIXED for form in FORMS]
        contenders += [(form, each) for each in (precision, *mixed) for form in forms]
    return contenders
