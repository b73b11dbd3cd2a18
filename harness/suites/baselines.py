"""The other systems of Tables 3 to 6 on our samples: accuracy beside the paper's networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from harness import baselines, spec
from harness.baselines import System
from harness.spec import Effort, Selection, Training, UsageError, Window, paper
from harness.suites.trainings import Size, size_of

SHORTER = "--baselines, --datasets, --samples or --epochs"
# The paper's network that a system stands beside.
BESIDE = {"cifar10": "CIFARNet", "nmnist": "OurModel", "dvs-cifar10": "OurModel"}


@dataclass(frozen=True)
class _Place:
    """Where a system is run."""

    system: System
    dataset: str
    window: Window | None


def cases(selection: Selection) -> tuple[spec.System, ...]:
    """The other systems of Tables 3 to 6 on our samples: accuracy beside the paper's networks.

    Every system on its data sets and windows, all of one seed before the next seed.
    Quick runs have each once, as it was published. Raises UsageError for an unknown system or data
    set, and for options that other systems have no use for.
    """
    _check(selection)
    names = selection.baselines or baselines.names()
    # the terminal's progress and --quick end where the quickest come first: as in the tables
    found = [
        case
        for name in names
        for place in _places(baselines.load(name), selection)
        for case in _cases(place, selection)
    ]
    if not found:
        raise UsageError(
            f"{', '.join(names)} cannot run on {', '.join(selection.datasets or ())}: "
            "`harness list baselines` says on what each can"
        )
    return tuple(sorted(found, key=lambda case: case.seed))


def _check(selection: Selection) -> None:
    given = {
        "--frameworks": selection.frameworks,
        "--networks": selection.networks,
        "--width": selection.width,
        "--neunorm": selection.neunorm,
        "--precision": selection.precision,
        "--batch-size": selection.batch_size,
        "--inference": selection.mode == "inference",
        "--tuned": selection.tuned,
        "--init": selection.initialisation != "calibrated",
    }
    for option, value in given.items():
        if value:
            raise UsageError(f"the baselines suite has no use for {option}: leave it out")
    for name in selection.datasets or ():
        paper.settings(name)
    for name in selection.baselines or ():
        baselines.check_name(name)


def _places(system: System, selection: Selection) -> Iterator[_Place]:
    named = selection.datasets
    chosen = [name for name in system.datasets if named is None or name in named]
    windows: tuple[Window | None, ...] = system.windows or (None,)
    if selection.quick:  # as published: that data set and that window are first
        chosen, windows = chosen[:1], windows[:1]
    for dataset in chosen:
        for window in windows:
            yield _Place(system, dataset, window)


def _cases(place: _Place, selection: Selection) -> Iterator[spec.System]:
    system, settings = place.system, paper.settings(place.dataset)
    effort: Effort = "quick" if selection.quick else "paper" if selection.paper else "default"
    size = size_of(selection, place.dataset)
    width = Fraction(1) if effort == "paper" else size.width
    name, network = paper.network(BESIDE[place.dataset], place.dataset, width=width)
    training = Training(
        epochs=selection.epochs or system.epochs.get(effort, 1),
        samples=selection.samples or size.samples,
        test_samples=size.test_samples,
        embedded=size.embedded,
        tested_at=system.steps,
    )
    for seed in _seeds(system, selection, size):
        for T in selection.steps or (size.steps,):
            yield spec.System(
                suite="baselines",
                dataset=place.dataset,
                scale=name,
                network=network,
                width=width,
                framework=system.name,
                T=T,
                batch_size=size.batch_size,
                precision="fp32",
                device="cpu",
                seed=seed,
                optimiser=settings.optimiser,
                training=training,
                effort=effort,
                window=place.window,
            )


def _seeds(system: System, selection: Selection, size: Size) -> tuple[int, ...]:
    """Those that are asked for; a system that draws nothing at random is run once, as seed 0."""
    return (selection.seeds or size.seeds[:3]) if system.random else size.seeds[:1]
