"""The paper's model in plain PyTorch, one idea a file, and where each of its equations is.

Equations (1)-(4) derive eq. (5) from the continuous neuron; eq. (15) is the limit of eq. (14).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.reference import coding, neunorm, neuron
from harness.reference.synapses import synapse

EQUATIONS: dict[int, Callable[..., Any]] = {
    5: neuron.potential,
    6: neuron.fire,
    7: neuron.potential,
    8: synapse,
    9: neunorm.auxiliary,
    10: neunorm.normalise,
    11: coding.loss,
    12: neuron.spike_gradient,
    13: neuron.potential_gradient,
    14: neuron.surrogate,
}
