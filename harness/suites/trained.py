"""What the suites that train share: their sizes, and a case of one of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import product

from harness.spec import (
    BIN_US,
    SGD,
    Adam,
    Precision,
    Reading,
    Selection,
    Trained,
    Training,
    UsageError,
    paper,
)

FRAMEWORKS = ("fused",)


@dataclass(frozen=True)
class Size:
    """How large a suite's trainings are on one data set; None: the whole, or as in Table 7."""

    width: Fraction
    steps: int  # T, which the paper does not print for its accuracies
    epochs: int | None
    samples: int | None
    test_samples: int | None
    batch_size: int  # which it does not print either
    seeds: tuple[int, ...]
    dropout: float | None = None
    embedded: bool = False
    simulated: bool = False  # events, though there are some recordings
    scaled: bool = False  # whether the rate falls as early in so many epochs as in the paper's
    precision: Precision = "fp32"


# --quick: the embedded digits, minutes on two cores. --paper: the paper's size, T as in its
# authors' later code. The default: real data, an hour or so for each suite on two cores; what is
# trained has not converged by then. --long: all images, as many recordings as the paper has or as
# tell a point, until training accuracy is flat: hours. What is reduced goes without dropout: with
# half of the 16 maps of a layer dropped at each step, in all seven layers, an eighth of CIFARNet
# stays at chance.
QUICK_STATIC = Size(Fraction(1, 8), 2, 6, 1_000, 150, 20, (0,), 0.0, embedded=True)
QUICK_EVENTS = Size(Fraction(1, 8), 6, 4, 400, 150, 20, (0,), 0.0, embedded=True)
STATIC = Size(Fraction(1, 8), 4, 15, 5_000, 1_000, 20, (0, 1, 2), 0.0)
EVENTS = Size(Fraction(1, 8), 10, 10, 1_000, 1_000, 20, (0, 1, 2), 0.0)
NMNIST = replace(EVENTS, seeds=(0, 1, 2, 3, 4))  # is small enough for more
LONG_STATIC = Size(
    Fraction(1, 8), 4, 15, None, None, 20, (0, 1, 2), 0.0, scaled=True, precision="bf16"
)
LONG_NMNIST = Size(
    Fraction(1, 8), 10, 8, 20_000, None, 20, (0, 1, 2), 0.0, simulated=True, precision="bf16"
)
LONG_DVS = Size(Fraction(1, 8), 10, 30, None, None, 20, (0, 1, 2), 0.0, precision="bf16")
PAPER_STATIC = Size(Fraction(1), 5, None, None, None, 100, (0, 1, 2), precision="bf16")
PAPER_EVENTS = replace(PAPER_STATIC, steps=10)


@dataclass(frozen=True)
class Wish:
    """One training of a suite, before the command line's choices and the seeds."""

    dataset: str
    network: str  # a name or a notation
    T: int | None = None  # None: as usual for the data set
    neunorm: Reading | None = None
    framework: str | None = None  # None: whom the command line chose
    tested_at: tuple[int, ...] = ()
    confusion: bool = False
    bin_us: int = BIN_US


def cases(suite: str, selection: Selection, wishes: list[Wish]) -> tuple[Trained, ...]:
    """The cases of a suite that trains, all wishes of one seed before the next seed.

    Raises UsageError for an unknown data set or network, for what only timing knows, and for the
    paper's size on a CPU.
    """
    if selection.mode == "inference" or selection.tuned:
        raise UsageError(f"the {suite} suite trains: leave --inference and --tuned out")
    if selection.paper and selection.device != "cuda":
        raise UsageError(
            "--paper trains at the paper's size, which takes months on a CPU: "
            "use --device cuda where there is one, or leave --paper out"
        )
    if selection.datasets is not None:
        for name in selection.datasets:
            paper.settings(name)
        wishes = [wish for wish in wishes if wish.dataset in selection.datasets]
    found = [case for wish in wishes for case in _cases(suite, selection, wish)]
    if not found:
        asked = ", ".join((*(selection.networks or ()), *(selection.datasets or ())))
        raise UsageError(
            f"the {suite} suite has nothing on {asked}: choose others, or leave it out"
        )
    return tuple(sorted(found, key=lambda case: case.seed))


def size_of(selection: Selection, dataset: str) -> Size:
    """The size of trainings on a data set."""
    static = paper.settings(dataset).static
    if selection.quick:
        return QUICK_STATIC if static else QUICK_EVENTS
    if selection.paper:
        return PAPER_STATIC if static else PAPER_EVENTS
    if selection.long:
        return LONG_STATIC if static else LONG_NMNIST if dataset == "nmnist" else LONG_DVS
    return STATIC if static else NMNIST if dataset == "nmnist" else EVENTS


def _cases(suite: str, selection: Selection, wish: Wish) -> Iterator[Trained]:
    size, settings = size_of(selection, wish.dataset), paper.settings(wish.dataset)
    dropout = settings.dropout if size.dropout is None else size.dropout
    width = selection.width or size.width
    chosen = selection.network(wish.network, wish.dataset, neunorm=wish.neunorm, width=width)
    steps = (wish.T,) if wish.T else selection.steps or (size.steps,)
    epochs = selection.epochs or size.epochs or settings.epochs
    training = Training(
        epochs=epochs,
        samples=selection.samples or size.samples,
        test_samples=size.test_samples,
        embedded=size.embedded,
        tested_at=wish.tested_at,
        confusion=wish.confusion,
        bin_us=wish.bin_us,
        simulated=size.simulated,
    )
    optimiser = settings.optimiser
    if size.scaled:
        optimiser = _scaled(optimiser, epochs / settings.epochs)
    frameworks = (wish.framework,) if wish.framework else selection.frameworks
    for seed, T, framework in product(selection.seeds or size.seeds, steps, frameworks):
        yield Trained(
            suite=suite,
            dataset=wish.dataset,
            scale=chosen.scale,
            network=replace(chosen.network, dropout=dropout),
            width=chosen.width,
            framework=framework,
            T=T,
            batch_size=selection.batch_size or size.batch_size,
            precision=selection.precision or size.precision,
            device=selection.device,
            seed=seed,
            optimiser=optimiser,
            initialisation=selection.initialisation,
            training=training,
            weights_sha256=chosen.weights_sha256,
        )


def _scaled(optimiser: SGD | Adam, share: float) -> SGD | Adam:
    """The optimiser whose rate falls after the same share of fewer epochs."""
    if isinstance(optimiser, Adam):
        return optimiser
    return replace(optimiser, step_epochs=max(1, round(optimiser.step_epochs * share)))


def named(selection: Selection, *names: str) -> tuple[str, ...]:
    """The networks that the command line names, else these."""
    return selection.networks or names
