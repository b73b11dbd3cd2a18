"""How a case is trained."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from harness.spec.network import UsageError

MOST = 10**9  # of steps, samples, epochs, and the last of the seeds
BIN_US = 5000  # the paper accumulates events every 5 ms
# The squared error of the votes, eq. (11); cross-entropy of the spikes that they count, or of the
# votes themselves.
Loss = Literal["mse", "cross-entropy", "cross-entropy of votes"]
LOSS: Loss = "mse"  # the paper's
# Spikes a neuron and step: a layer below it passes on too little to learn from.
DEAD_RATE = 1e-3


def checked(name: str, value: int, least: int = 1) -> None:
    """Raises UsageError for a number that nothing can be run with."""
    if not least <= value <= MOST:
        raise UsageError(f"{name} is {str(value)[:30]}, expected {least} to {MOST}")


def _check_rate(lr: float) -> None:
    if not 0 < lr < inf:  # NaN is in no range
        raise UsageError(f"the optimiser's rate is {lr}, expected one above 0")


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent; rate times `factor` every `step_epochs` epochs (appendix B)."""

    lr: float = 0.1
    momentum: float = 0.9
    step_epochs: int = 40
    factor: float = 0.1

    def __post_init__(self) -> None:
        checked("step_epochs", self.step_epochs)
        _check_rate(self.lr)
        if not 0 < self.factor < inf:
            raise UsageError(f"the rate's factor is {self.factor}, expected one above 0")
        if not 0 <= self.momentum < inf:
            raise UsageError(f"momentum is {self.momentum}, expected 0 or more")


@dataclass(frozen=True)
class Adam:
    """Adam. The paper prints its betas and not its rate; 1e-3 is Adam's own default.

    On DVS-CIFAR10, whose threshold is 0.05 and its surrogate 0.1 wide, that throws every potential
    out of the window within an epoch (no gradient from then on): a tenth of it is used there.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)

    def __post_init__(self) -> None:
        _check_rate(self.lr)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(f"betas are {self.betas}, expected two from 0 to below 1")


@dataclass(frozen=True)
class Training:
    """How a case is trained and tested, beside its optimiser."""

    epochs: int
    samples: int | None = None  # of the training set, validation among them; None: all
    test_samples: int | None = None
    embedded: bool = False  # on the embedded digits, whatever data there are
    tested_at: tuple[int, ...] = ()  # numbers of steps at which the trained network is tested too
    confusion: bool = False  # whether Fig. 6's matrix is wanted
    bin_us: int = BIN_US  # of an event frame
    # On simulated events whatever recordings there are; what is trained is tested on those too,
    # none of which is of an image that it was trained on.
    simulated: bool = False
    loss: Loss = LOSS

    def __post_init__(self) -> None:
        checked("epochs", self.epochs)
        checked("bin_us", self.bin_us)
        for name, value in (("samples", self.samples), ("test samples", self.test_samples)):
            if value is not None:
                checked(name, value)
        for steps in self.tested_at:
            checked("tested T", steps)
