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
from harness.spec.fields import CaseFields, Initialisation, Mode, Precision
from harness.spec.layers import AvgPool, Conv, Layer, Linear, Stage, Voting
from harness.spec.network import LIF, Network, NeuNorm, Reading
from harness.spec.selection import Access, Allocator, Budget, Say, Selection
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
