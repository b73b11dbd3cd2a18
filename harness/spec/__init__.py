"""What goes in, as data: networks, the paper's settings, cases. Standard library only."""

from harness.spec.case import (
    ANN,
    FLOOR,
    REFERENCE,
    Allocator,
    Case,
    Initialisation,
    Mode,
    Precision,
    Selection,
    Source,
    Training,
)
from harness.spec.errors import NotationError, UsageError
from harness.spec.layers import AvgPool, Conv, Layer, Linear, Stage, Voting
from harness.spec.network import LIF, Network, NeuNorm, Reading

__all__ = [
    "ANN",
    "FLOOR",
    "REFERENCE",
    "LIF",
    "Allocator",
    "AvgPool",
    "Case",
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
    "Selection",
    "Source",
    "Stage",
    "Training",
    "UsageError",
    "Voting",
]
