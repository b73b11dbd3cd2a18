"""How the learning rate goes over a training, and when a training has converged.

Either as Table 7 has it, which suits its 150 or 200 epochs; or, where a case names `least_epochs`,
for networks that are to learn what they can in fewer: the first rate stays until held-out accuracy
has stopped rising, then falls twice by ten. One rule for all: networks with spikes and without,
every T, scale, reading of NeuNorm and threshold.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from harness.spec.case import Trained
from harness.spec.network import UsageError
from harness.spec.paper import SGD, Adam

# Fixed before the runs. Half a point of held-out accuracy is half of the least that matters in a
# verdict; means of quarters, since a few thousand samples leave an epoch a noise of half a point.
GAIN = 0.005
FEWEST_EPOCHS = 8  # at the first rate: a quarter of fewer is one epoch, and noise
FALLS, FALL_EPOCHS, FACTOR = 2, 5, 0.1
# A network that has not left chance by then will not, and ends. Twice of chance is "left".
HOPELESS_EPOCHS, LEARNT = 5, 2.0


def table_7(settings: SGD | Adam, epoch: int) -> float:
    """The rate of an epoch, from 1, as the paper has it."""
    if isinstance(settings, Adam):
        return settings.lr
    return settings.lr * settings.factor ** ((epoch - 1) // settings.step_epochs)


def gain(held_out: Sequence[float]) -> float:
    """What the last quarter of the epochs, FEWEST_EPOCHS or more, gained: its mean accuracy less
    that of the quarter before.
    """
    quarter = len(held_out) // 4
    return fmean(held_out[-quarter:]) - fmean(held_out[-2 * quarter : -quarter])


def converged(held_out: Sequence[float]) -> bool:
    """Whether accuracies in [0, 1] of the epochs at the first rate had stopped rising."""
    return len(held_out) >= FEWEST_EPOCHS and gain(held_out) < GAIN


def next_rate(case: Trained, held_out: Sequence[float], trained: Sequence[float]) -> float | None:
    """The rate of a training's next epoch; None where it is over.

    Of the epochs so far, held-out and training accuracies in [0, 1].
    """
    training, done = case.training, len(held_out)
    if training.least_epochs is None:
        return None if done >= training.epochs else table_7(case.optimiser, done + 1)
    chance = 1 / case.network.classes
    if done >= HOPELESS_EPOCHS and max(trained[:HOPELESS_EPOCHS]) < LEARNT * chance:
        return None
    longest = training.epochs - FALLS * FALL_EPOCHS
    for at_first in range(training.least_epochs, min(done, longest) + 1):
        if at_first == longest or converged(held_out[:at_first]):
            falls = (done - at_first) // FALL_EPOCHS + 1
            return case.optimiser.lr * FACTOR**falls if falls <= FALLS else None
    return case.optimiser.lr


def check(epochs: int, least_epochs: int) -> None:
    """Raises UsageError for a schedule that cannot be."""
    fewest = max(least_epochs, FEWEST_EPOCHS) + FALLS * FALL_EPOCHS
    if least_epochs < FEWEST_EPOCHS or epochs < fewest:
        raise UsageError(
            f"{epochs} epochs are too few for a rate that stays until accuracy is flat: "
            f"it takes {fewest} or more"
        )
