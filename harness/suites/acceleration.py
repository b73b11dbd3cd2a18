"""Fig. 3: training time per epoch of the networks of Table 1, on the three data sets."""

from __future__ import annotations

from itertools import product

from harness import networks
from harness.spec import Case, Selection, UsageError

BATCH_SIZE = 20  # as in Fig. 3
STEPS = (10,)


def cases(selection: Selection) -> tuple[Case, ...]:
    """One case per network, data set, T, seed and framework; small networks first: rows come early.

    Raises UsageError for an unknown data set or network and for epochs, NotationError for a wrong
    notation.
    """
    if selection.epochs is not None:
        raise UsageError(
            "the acceleration suite times iterations and trains no epochs: leave --epochs out"
        )
    scales = selection.networks or (networks.SCALES[:1] if selection.quick else networks.SCALES)
    datasets = selection.datasets or tuple(networks.SETTINGS)
    steps = selection.steps or STEPS
    grid = product(scales, datasets, steps, selection.seeds, selection.frameworks)
    return tuple(_case(selection, *point) for point in grid)


def _case(
    selection: Selection, scale: str, dataset: str, T: int, seed: int, framework: str
) -> Case:
    name, network = networks.network(
        scale, dataset, neunorm=selection.neunorm, width=selection.width
    )
    return Case(
        suite="acceleration",
        dataset=dataset,
        scale=name,
        network=network,
        width=selection.width,
        framework=framework,
        T=T,
        batch_size=selection.batch_size or BATCH_SIZE,
        precision=selection.precision,
        device=selection.device,
        seed=seed,
        initialisation=selection.initialisation,
    )
