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
from harness.proof.answer import Question
from harness.spec import Network, Timed
from harness.speed.iteration import built_to_try, labels_of
from harness.system import memory

# Runs every kind of layer once, so that code which loads on first use is in the base, not the peak.
_FIRST_USE = "8C3(Encoding)-AP2-8C3-8FC-Voting"


@dataclass(eq=False)
class Meter:
    """Measures from before a contender is built: its weights are in the figure."""

    device: torch.device
    base: int  # bytes

    @classmethod
    def over(cls, adapter: Adapter, case: Timed, asked: Question) -> Meter:
        """Over what the process holds now, once a tiny network has run. Raises what that raises.

        What is free by then goes back to the system: else it would be in the base, and whoever
        takes it again would seem to need nothing.
        """
        network, device = case.network, torch.device(case.device)
        tiny = Network.parse(
            _FIRST_USE, input_shape=network.input_shape, lif=network.lif, neunorm=network.neunorm
        )
        steps, samples = min(2, case.T), min(2, case.batch_size)
        small = replace(case, T=steps, batch_size=samples, network=tiny)
        x, labels = asked.x[:steps, :samples], labels_of(asked)[:samples]
        tried = built_to_try(adapter, small, x, labels)
        tried.run()
        tried.close()
        if device.type == "cuda":
            torch.cuda.synchronize()
            return cls(device, torch.cuda.memory_allocated())
        memory.release()
        return cls(device, sum(each.memory_info().rss for each in _family()))

    def start(self) -> None:
        """The iteration begins whose peak is wanted."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return
        for each in _family():
            reset = Path(f"/proc/{each.pid}/clear_refs")
            if reset.exists():
                reset.write_text("5")  # sets the peak back to the present size, proc(5)

    def peak_mib(self) -> float:
        """The peak since, over the base."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            return (torch.cuda.max_memory_allocated() - self.base) / 2**20
        return (sum(map(_peak_rss, _family())) - self.base) / 2**20


def _family() -> list[psutil.Process]:
    return memory.family(os.getpid())


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
