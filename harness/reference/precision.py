"""What a precision means: the type of weights and inputs, of synapses, and autocast."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch

from harness.spec import Precision

# Of weights and inputs; bf16 keeps float32 weights and runs under autocast.
DTYPES: Mapping[Precision, torch.dtype] = {
    "fp64": torch.float64,
    "fp32": torch.float32,
    "bf16": torch.float32,
}
# What synapses compute in.
SYNAPSE_DTYPES: Mapping[Precision, torch.dtype] = {**DTYPES, "bf16": torch.bfloat16}


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Return the context that a pass in this precision runs in."""
    if precision == "bf16":
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()
