"""The suites that train nothing: iterations are timed, operations of inferences are counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product

from harness.spec import ANN, Precision, Selection, Timed, UsageError, contender, paper

BATCH_SIZE = 20  # as in Fig. 3
STEPS = (10,)
SEEDS = (0,)
QUICK_DATASETS = ("cifar10",)  # all three take more than the 90 s that a first look may
# Who runs in bf16 too, beside float32, where no precision is asked for: our own engine.
MIXED = ("fused",)
BESIDE = ("fused:dense",)  # what events gain is the difference
# A default run is long without them: Octave's convolutions take minutes, or are scaled.
APART = ("jax", "octave", "sinabs")
Form = tuple[str, Precision]  # a framework's, and the precision it runs in
FORMS: tuple[str, ...] = ("channels-last", "compiled")  # of `harness.adapter`, which needs torch
CUDA_FORMS: tuple[str, ...] = ("cuda-graph",)  # where there is a GPU, and for our own engine too


def acceleration(selection: Selection) -> tuple[Timed, ...]:
    """Fig. 3: training time per epoch of the networks of Table 1, on the three data sets.

    One case per network, data set, T, seed and contender; small networks first: rows come early.
    Raises UsageError for an unknown data set or network and for epochs or samples, NotationError
    for a wrong notation.
    """
    for option, given in (("--epochs", selection.epochs), ("--samples", selection.samples)):
        if given is not None:
            raise UsageError(
                f"the acceleration suite times iterations and trains nothing: leave {option} out"
            )
    scales = selection.networks or (paper.SCALES[:1] if selection.quick else paper.SCALES)
    datasets = selection.datasets or (QUICK_DATASETS if selection.quick else tuple(paper.SETTINGS))
    steps, seeds = selection.steps or STEPS, selection.seeds or SEEDS
    grid = product(scales, datasets, steps, seeds, _forms(selection))
    return tuple(_case(selection, *point) for point in grid)


def _forms(selection: Selection) -> list[Form]:
    """Who runs, and in which precision; with `tuned` each framework's other forms as well."""
    names, precision = selection.frameworks, selection.precision or "fp32"
    mixed: list[Precision] = ["bf16"] if precision == "fp32" else []
    ours = [name for name in names if name in MIXED]
    contenders = _each(names, [precision]) + _each(ours, mixed)
    if selection.tuned:
        plain = [name for name in names if ":" not in name]
        forms = [contender(name, form) for name in plain if name not in MIXED for form in FORMS]
        if selection.device == "cuda":
            forms += [contender(name, form) for name in plain for form in CUDA_FORMS]
        contenders += _each(forms, [precision, *mixed])
    return contenders


def _each(names: Sequence[str], precisions: Sequence[Precision]) -> list[Form]:
    return [(name, precision) for precision in precisions for name in names]


def _case(
    selection: Selection,
    scale: str,
    dataset: str,
    T: int,
    seed: int,
    form: Form,
) -> Timed:
    framework, precision = form
    width = selection.width or Fraction(1)
    chosen = selection.network(scale, dataset, neunorm=selection.neunorm, width=width)
    return Timed(
        suite="acceleration",
        dataset=dataset,
        scale=chosen.scale,
        network=chosen.network,
        width=chosen.width,
        framework=framework,
        T=T,
        batch_size=selection.batch_size or BATCH_SIZE,
        precision=precision,
        device=selection.device,
        seed=seed,
        optimiser=paper.settings(dataset).optimiser,
        initialisation=selection.initialisation,
        mode=selection.mode,
        weights_sha256=chosen.weights_sha256,
    )


COUNTED_BY = ("reference",)  # what is counted is the function's, whoever computes it
COUNTS_SHORTER = "--networks, --datasets or --width"
COUNTED, QUICK_COUNTED = 100, 20  # test samples
QUICK_WIDTH = Fraction(1, 8)


def energy(selection: Selection) -> tuple[Timed, ...]:
    """What an inference of a sample costs: operations and memory.

    The networks of Table 1 on the three data sets with their initial weights, each beside the
    network of the same structure without spikes; small networks first. A network out of a file has
    its own weights.

    Raises UsageError for an unknown data set or network, and for options that an inference has no
    use for; NotationError for a wrong notation.
    """
    given = {
        "--epochs": selection.epochs,
        "--samples": selection.samples,
        "--tuned": selection.tuned,
        "--inference": selection.mode == "inference",
    }
    for option, value in given.items():
        if value:
            raise UsageError(f"the energy suite infers, and trains nothing: leave {option} out")
    scales = selection.networks or (paper.SCALES[:1] if selection.quick else paper.SCALES)
    datasets = selection.datasets or (QUICK_DATASETS if selection.quick else tuple(paper.SETTINGS))
    steps, seeds = selection.steps or STEPS, selection.seeds or SEEDS
    grid = product(scales, datasets, steps, seeds)
    return tuple(case for point in grid for case in _counted(selection, *point))


def _counted(selection: Selection, scale: str, dataset: str, T: int, seed: int) -> Iterator[Timed]:
    """A network as each framework has it, then without spikes."""
    width = selection.width or (QUICK_WIDTH if selection.quick else Fraction(1))
    chosen = selection.network(scale, dataset, neunorm=selection.neunorm, width=width)
    bare = replace(chosen.network, neunorm=None)
    usual = QUICK_COUNTED if selection.quick else COUNTED
    for framework in (*selection.frameworks, ANN):
        yield Timed(
            suite="energy",
            dataset=dataset,
            scale=chosen.scale,
            network=bare if framework == ANN else chosen.network,
            width=chosen.width,
            framework=framework,
            T=T,
            batch_size=selection.batch_size or usual,
            precision=selection.precision or "fp32",
            device=selection.device,
            seed=seed,
            optimiser=paper.settings(dataset).optimiser,
            initialisation=selection.initialisation,
            mode="inference",
            weights_sha256=None if framework == ANN else chosen.weights_sha256,
        )
