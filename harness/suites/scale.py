"""Fig. 4: accuracy of the Small, Middle and Large networks of Table 1."""

from __future__ import annotations

from harness.spec import Selection, Trained, paper
from harness.suites.trained import Wish, named
from harness.suites.trained import cases as trained

DATASETS = ("cifar10", "nmnist")


def cases(selection: Selection) -> tuple[Trained, ...]:
    """The three scales on CIFAR-10 and N-MNIST."""
    wishes = [
        Wish(dataset, network, neunorm=selection.neunorm)
        for dataset in selection.datasets or DATASETS
        for network in named(selection, *paper.SCALES)
    ]
    return trained("scale", selection, wishes)
