"""What goes in, as data: networks, the paper's settings, cases. Standard library only."""

from harness.spec.case import (
    ANN,
    FLOOR,
    REFERENCE,
    SUITES,
    Allocator,
    Case,
    CaseFields,
    Initialisation,
    Mode,
    Precision,
    Source,
    cells,
    contender,
)
from harness.spec.errors import NotationError, UsageError
from harness.spec.layers import AvgPool, Conv, Layer, Linear, Stage, Voting
from harness.spec.network import LIF, Network, NeuNorm, Reading
from harness.spec.selection import Access, Budget, Say, Selection
from harness.spec.training import SGD, Adam, Training

__all__ = [
    "ANN",
    "FLOOR",
    "LIF",
    "REFERENCE",
    "SGD",
    "Access",
    "Adam",
    "Allocator",
    "AvgPool",
    "Budget",
    "Case",
    "CaseFields",
    "Conv",
    "Initialisation",
    "Layer",
    "Linear",
    "Mode",
    "Network",
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
    "cells",
    "contender",
]
