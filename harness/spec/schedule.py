"""How the learning rate goes over a training: by Table 7, or in stages that a case names.

The stages of `--long` are on CIFAR-10 Table 7's with the later ones cut short; on events, for which
Table 7 has one rate, they are ours. They are the same for networks with spikes and without, every
T, scale, reading of NeuNorm and precision, and were fixed before the trainings ran.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from harness.spec import paper
from harness.spec.case import Training
from harness.spec.paper import SGD, Adam

# Epochs at each rate, a tenth of the one before. CIFAR-10's first stage is the paper's, whole.
STAGES = {"cifar10": (40, 5, 5), "nmnist": (12, 5, 5), "dvs-cifar10": (30,)}
# The paper prints neither this rate nor U. At 1e-3 one of three seeds of N-MNIST's Large learns
# nothing. NeuNorm's U at first is the best of four by held-out accuracy, on images and on events
# (docs/findings.md); None would be uniform within 1 / sqrt(H W).
OPTIMISERS: Mapping[str, SGD | Adam] = {"nmnist": Adam(3e-4)}
U = 1.0
FACTOR = 0.1
# A network that has not left chance by then will not, and ends. Twice of chance is "left".
HOPELESS_EPOCHS, LEARNT = 5, 2.0
SETUP_SECONDS = 8.0  # of a training besides its epochs, about: its process, data and exams


def optimiser(dataset: str) -> SGD | Adam:
    """Return the optimiser of a data set: Table 7's, at our learning rate where none is printed."""
    return OPTIMISERS.get(dataset, paper.settings(dataset).optimiser)


def table_7(settings: SGD | Adam, epoch: int) -> float:
    """Return the learning rate of an epoch, counted from 1, by Table 7."""
    if isinstance(settings, Adam):
        return settings.lr
    return settings.lr * settings.factor ** ((epoch - 1) // settings.step_epochs)


def next_rate(case: Training, trained: Sequence[float]) -> float | None:
    """Return the learning rate of a training's next epoch; None if it has ended.

    One in stages ends early if it has not left chance after HOPELESS_EPOCHS. `trained` has the
    training accuracy, in [0, 1], of each epoch so far.
    """
    done = len(trained)
    if done >= case.epochs:
        return None
    if not case.stages:
        return table_7(case.optimiser, done + 1)
    hopeless = max(trained[:HOPELESS_EPOCHS], default=0.0) < LEARNT / case.workload.network.classes
    if done >= HOPELESS_EPOCHS and hopeless:
        return None
    return case.optimiser.lr * FACTOR ** bisect_right([*accumulate(case.stages)], done)


def is_on_schedule(case: Training) -> bool:
    """Return whether a case trains as was fixed for its data set, or for all epochs of Table 7.

    Fixed are stages, rate and NeuNorm's first U. By Table 7 Adam's rate may be another: none is
    printed.
    """
    settings, norm = paper.settings(case.workload.dataset), case.workload.network.neunorm
    if case.stages:
        as_fixed = case.stages, case.optimiser, U if norm is None else norm.u
        dataset = case.workload.dataset
        return as_fixed == (STAGES[dataset], optimiser(dataset), U)
    is_paper = case.optimiser == settings.optimiser or isinstance(case.optimiser, Adam)
    return is_paper and case.least_epochs is None and case.epochs >= settings.epochs
