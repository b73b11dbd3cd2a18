"""Peak memory of an iteration over what its process had before: a contender has one of its own."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from harness.adapter import Adapter
from harness.spec import Network
from harness.speed.iteration import Workload, built
from harness.system import allocator

# Runs every kind of layer once, so that code which loads on first use is in the base, not the peak.
_FIRST_USE = "8C3(Encoding)-AP2-8C3-8FC-Voting"


@dataclass(eq=False)
class Meter:
    """Measures from before a contender is built: its weights are in the figure."""

    device: torch.device
    base: int  # bytes

    @classmethod
    def over(cls, adapter: Adapter, work: Workload) -> Meter:
        """Over what the process holds now, once a tiny network has run. Raises what that raises.

        What is free by then goes back to the system: else it would be in the base, and whoever
        takes it again would seem to need nothing.
        """
        network = work.case.network
        tiny = Network.parse(
            _FIRST_USE, input_shape=network.input_shape, lif=network.lif, neunorm=network.neunorm
        )
        first = work.first(steps=2, samples=2)
        built(adapter, replace(first, case=replace(first.case, network=tiny))).run()
        if work.device.type == "cuda":
            torch.cuda.synchronize()
            return cls(work.device, torch.cuda.memory_allocated())
        allocator.release()
        return cls(work.device, psutil.Process().memory_info().rss)

    def start(self) -> None:
        """The iteration begins whose peak is wanted."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return
        reset = Path("/proc/self/clear_refs")
        if reset.exists():
            reset.write_text("5")  # sets the peak back to the present size, proc(5)

    def peak_mib(self) -> float:
        """The peak since, over the base."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            return (torch.cuda.max_memory_allocated() - self.base) / 2**20
        return (_peak_rss() - self.base) / 2**20


def _peak_rss() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
