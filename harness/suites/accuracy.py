"""Our rows of Tables 3 to 6: the networks of Table 2, without and with NeuNorm, and the ANN."""

from __future__ import annotations

from harness.spec import ANN, BIN_US, Reading, Selection, Trained
from harness.suites.trained import Wish
from harness.suites.trained import cases as trained

# Steps and bins of longer windows: a third of a recording, and all of it in as many frames.
LONGER = ((20, BIN_US), (10, 6 * BIN_US))


def cases(selection: Selection) -> tuple[Trained, ...]:
    """N-MNIST (Table 3), DVS-CIFAR10 (4), CIFARNet and its ANN (5), AlexNet and its ANN (6).

    `--long` has N-MNIST over longer windows too: the first T bins are a sixth of a recording.
    """
    on: Reading = selection.neunorm or "mean"
    wishes = [
        Wish(dataset, network, neunorm=reading)
        for dataset, network in (
            ("nmnist", "OurModel"),
            ("cifar10", "CIFARNet"),
            ("cifar10", "AlexNet"),
            ("dvs-cifar10", "OurModel"),
        )
        for reading in (None, on)
    ]
    wishes += [Wish("cifar10", network, framework=ANN) for network in ("CIFARNet", "AlexNet")]
    if selection.long:
        wishes += [Wish("nmnist", "OurModel", T=T, bin_us=bin_us) for T, bin_us in LONGER]
    named = selection.networks and [name.lower() for name in selection.networks]
    chosen = [wish for wish in wishes if named is None or wish.network.lower() in named]
    return trained("accuracy", selection, chosen)
