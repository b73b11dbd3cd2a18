"""What an inference of a sample costs: operations and memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product

from harness.spec import ANN, Selection, Timed, UsageError, paper

FRAMEWORKS = ("reference",)  # what is counted is the function's, whoever computes it
SHORTER = "--networks, --datasets or --width"
BATCH_SIZE, QUICK_BATCH_SIZE = 100, 20  # test samples
STEPS = (10,)  # as in Fig. 3
SEEDS = (0,)
QUICK_WIDTH = Fraction(1, 8)
QUICK_DATASETS = ("cifar10",)


def cases(selection: Selection) -> tuple[Timed, ...]:
    """The networks of Table 1 on the three data sets with their initial weights, each beside the
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
    return tuple(case for point in grid for case in _cases(selection, *point))


def _cases(selection: Selection, scale: str, dataset: str, T: int, seed: int) -> Iterator[Timed]:
    """A network as each framework has it, then without spikes."""
    width = selection.width or (QUICK_WIDTH if selection.quick else Fraction(1))
    chosen = selection.network(scale, dataset, neunorm=selection.neunorm, width=width)
    bare = replace(chosen.network, neunorm=None)
    usual = QUICK_BATCH_SIZE if selection.quick else BATCH_SIZE
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
