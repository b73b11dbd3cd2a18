"""What goes in, as data: networks, the paper's settings, cases. Standard library only."""

from harness.spec.case import (
    ANN,
    FLOOR,
    REFERENCE,
    SUITES,
    Case,
    Source,
    cells,
    contender,
)
from harness.spec.errors import NotationError, UsageError
from harness.spec.fields import Beside, CaseFields, Effort, Initialisation, Mode, Precision, Window
from harness.spec.given import NamedNetwork, NetworkFile
from harness.spec.layers import AvgPool, Conv, Layer, Linear, Stage, Voting
from harness.spec.network import LIF, Network, NeuNorm, Reading
from harness.spec.selection import Access, Budget, Say, Selection
from harness.spec.training import BIN_US, DEAD_RATE, LOSS, SGD, Adam, Loss, Training

__all__ = [
    "ANN",
    "BIN_US",
    "DEAD_RATE",
    "FLOOR",
    "LIF",
    "LOSS",
    "Loss",
    "REFERENCE",
    "SGD",
    "Access",
    "Adam",
    "AvgPool",
    "Beside",
    "Budget",
    "Case",
    "CaseFields",
    "Conv",
    "Effort",
    "Initialisation",
    "Layer",
    "Linear",
    "Mode",
    "NamedNetwork",
    "Network",
    "NetworkFile",
    "NeuNorm",
    "NotationError",
    "Precision",
    "Reading",
    "SUITES",
    "Say",
    "Selection",
    "Source",
    "Stage",
    "Training",
    "UsageError",
    "Voting",
    "Window",
    "cells",
    "contender",
]
