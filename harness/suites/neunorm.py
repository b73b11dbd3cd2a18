"""NeuNorm off, and on by both readings: accuracy, speed of convergence, Fig. 6's confusion."""

from __future__ import annotations

from typing import get_args

from harness.spec import Reading, Selection, Trained
from harness.suites.trained import Wish, named
from harness.suites.trained import cases as trained

READINGS: tuple[Reading | None, ...] = (None, *get_args(Reading))


def cases(selection: Selection) -> tuple[Trained, ...]:
    """CIFARNet on CIFAR-10 with each; the same seeds and data for all three."""
    readings = READINGS if selection.neunorm is None else (None, selection.neunorm)
    wishes = [
        Wish(dataset, network, neunorm=reading, confusion=True)
        for dataset in selection.datasets or ("cifar10",)
        for network in named(selection, "CIFARNet" if dataset == "cifar10" else "OurModel")
        for reading in readings
    ]
    return trained("neunorm", selection, wishes)
