"""Our rows of Tables 3 to 6: the networks of Table 2, without and with NeuNorm, and the ANN."""

from __future__ import annotations

from harness.spec import ANN, Case, Reading, Selection
from harness.suites.trained import Wish
from harness.suites.trained import cases as trained


def cases(selection: Selection) -> tuple[Case, ...]:
    """N-MNIST (Table 3), DVS-CIFAR10 (4), CIFARNet and its ANN (5), AlexNet (6)."""
    on: Reading = selection.neunorm or "mean"
    wishes = [
        Wish(dataset, network, neunorm=reading)
        for dataset, network in (
            ("nmnist", "OurModel"),
            ("cifar10", "CIFARNet"),
            ("cifar10", "AlexNet"),
            ("dvs-cifar10", "OurModel"),
        )
        if selection.networks is None or network.lower() in map(str.lower, selection.networks)
        for reading in (None, on)
    ]
    if selection.networks is None or "cifarnet" in map(str.lower, selection.networks):
        wishes.append(Wish("cifar10", "CIFARNet", framework=ANN))
    return trained("accuracy", selection, wishes)
