"""Fig. 5: accuracy on CIFAR-10 against the number of steps T, in training and in testing."""

from __future__ import annotations

from harness.spec import Selection, Trained
from harness.suites.trained import Wish, named
from harness.suites.trained import cases as trained

STEPS = (1, 2, 4, 8)


def cases(selection: Selection) -> tuple[Trained, ...]:
    """CIFARNet trained over each T, and each tested over all of them."""
    steps = selection.steps or STEPS
    datasets = selection.datasets or ("cifar10",)
    wishes = [
        Wish(dataset, network, T=T, neunorm=selection.neunorm, tested_at=steps)
        for dataset in datasets
        for network in named(selection, "CIFARNet" if dataset == "cifar10" else "OurModel")
        for T in steps
    ]
    return trained("timesteps", selection, wishes)
