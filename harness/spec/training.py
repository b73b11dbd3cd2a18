"""How a case is trained."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent; rate times `factor` every `step_epochs` epochs (appendix B)."""

    lr: float = 0.1
    momentum: float = 0.9
    step_epochs: int = 40
    factor: float = 0.1


@dataclass(frozen=True)
class Adam:
    """Adam. The paper prints its betas and not its rate; 1e-3 is Adam's own default.

    On DVS-CIFAR10, whose threshold is 0.05 and its surrogate 0.1 wide, that throws every potential
    out of the window within an epoch (no gradient from then on): a tenth of it is used there.
    """

    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)


@dataclass(frozen=True)
class Training:
    """How a case is trained and tested, beside its optimiser."""

    epochs: int
    samples: int | None = None  # of the training set, validation among them; None: all
    test_samples: int | None = None
    embedded: bool = False  # on the embedded digits, whatever data there are
    tested_at: tuple[int, ...] = ()  # numbers of steps at which the trained network is tested too
    confusion: bool = False  # whether Fig. 6's matrix is wanted
