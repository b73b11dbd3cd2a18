"""What a process computes with beside its arguments, and a contender may have set."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

PROBES: Mapping[str, Callable[[], object]] = {
    "torch's threads": torch.get_num_threads,
    "torch's threads between operations": torch.get_num_interop_threads,
    "the default dtype": torch.get_default_dtype,
    "the default device": torch.get_default_device,
    "deterministic algorithms": torch.are_deterministic_algorithms_enabled,
    "the precision of float32 products": torch.get_float32_matmul_precision,
    "gradients": torch.is_grad_enabled,
    "mkldnn": lambda: torch.backends.mkldnn.enabled,
    "cuDNN's benchmark": lambda: torch.backends.cudnn.benchmark,
    "autocast on the CPU": lambda: torch.is_autocast_enabled("cpu"),
    "denormal numbers": lambda: SMALLEST_NORMAL / 2 > 0,
    "the garbage collector": gc.isenabled,
    "the cores to run on": lambda: getattr(os, "sched_getaffinity", lambda pid: set())(0),
    "the priority": lambda: getattr(os, "nice", lambda more: 0)(0),
}
SMALLEST_NORMAL = sys.float_info.min  # in a name, so that its half is computed when it is asked


@dataclass(frozen=True)
class State:
    """The state of this process at one time, a value for each probe."""

    values: Mapping[str, object]

    def changes(self, later: State) -> tuple[str, ...]:
        """What is another in the later state, as "sets torch's threads to 1"."""
        words = {True: "on", False: "off"}
        now = {name: later.values[name] for name, value in self.values.items()}
        return tuple(
            f"sets {name} to {words[value] if isinstance(value, bool) else value}"
            for name, value in now.items()
            if value != self.values[name]
        )


def taken() -> State:
    """The state of this process now. It takes a fraction of a millisecond and changes nothing."""
    return State({name: probe() for name, probe in PROBES.items()})
