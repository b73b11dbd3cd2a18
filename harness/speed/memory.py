"""Peak memory of an iteration over what its process had before: a contender has one of its own."""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import torch

from harness.adapter import Adapter
from harness.spec import Network
from harness.speed.iteration import Workload
from harness.speed.ready import loaded
from harness.system import allocator, footprint

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
        tried = loaded(adapter, replace(first, case=replace(first.case, network=tiny)))
        tried.run()
        tried.close()
        if work.device.type == "cuda":
            torch.cuda.synchronize()
            return cls(work.device, torch.cuda.memory_allocated())
        allocator.release()
        return cls(
            work.device, sum(each.memory_info().rss for each in footprint.family(os.getpid()))
        )

    def start(self) -> None:
        """The iteration begins whose peak is wanted."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return
        for each in footprint.family(os.getpid()):
            reset = Path(f"/proc/{each.pid}/clear_refs")
            if reset.exists():
                reset.write_text("5")  # sets the peak back to the present size, proc(5)

    def peak_mib(self) -> float:
        """The peak since, over the base."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            return (torch.cuda.max_memory_allocated() - self.base) / 2**20
        return (sum(map(_peak_rss, footprint.family(os.getpid()))) - self.base) / 2**20


def _peak_rss(process: psutil.Process) -> int:
    status = Path(f"/proc/{process.pid}/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    if process.pid != os.getpid():
        return process.memory_info().rss
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
