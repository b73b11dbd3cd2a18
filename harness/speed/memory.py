"""Peak memory of one training iteration, measured in a process of its own."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import torch

from harness.adapter import Adapter
from harness.spec import Network
from harness.speed.iteration import Workload, iteration
from harness.system import processes

# Runs every kind of layer once, so that code which loads on first use is in the base, not the peak.
_FIRST_USE = "8C3(Encoding)-AP2-8C3-8FC-Voting"

Find = Callable[[str], Adapter]  # adapters.load


def peak_mib(work: Workload, find: Find, *, threads: int, timeout: float = 600.0) -> float:
    """Peak memory over the process's base, in MiB.

    Raises ChildProcessError where that process dies or fails, TimeoutError where it hangs.
    """
    context = processes.context(work.case.device)
    receive, send = context.Pipe(duplex=False)
    watched, lifeline = context.Pipe(duplex=False)
    given = (send, watched, work, find, threads)
    child = context.Process(target=_child, args=given, daemon=True)
    child.start()
    for each in (send, watched):
        each.close()
    try:
        if not receive.poll(timeout):
            raise TimeoutError(f"the memory measurement did not end within {timeout:.0f} s")
        answer = receive.recv()
    except EOFError:
        child.join()
        raise ChildProcessError(
            f"the memory measurement died with exit code {child.exitcode}"
        ) from None
    finally:
        receive.close()
        lifeline.close()
        child.kill()  # it has answered, died or hung: nothing is lost
        child.join()
    if isinstance(answer, str):
        raise ChildProcessError(answer)
    return answer


def _child(send: Connection, watched: Connection, work: Workload, find: Find, threads: int) -> None:
    os.setpgid(0, 0)  # what it starts ends with it
    processes.end_with(watched)  # the process that asked for it may be killed
    torch.set_num_threads(threads)
    try:
        send.send(_measure(work, find))
    except Exception as error:  # noqa: BLE001 whatever it was, the parent makes it a row
        send.send(f"{type(error).__name__}: {error}")


def _iterate(work: Workload, find: Find) -> None:
    iteration(find(work.case.framework), work)(work)()


def _measure(work: Workload, find: Find) -> float:
    network = work.case.network
    tiny = Network.parse(
        _FIRST_USE, input_shape=network.input_shape, lif=network.lif, neunorm=network.neunorm
    )
    first = work.first(steps=2, samples=2)
    _iterate(replace(first, case=replace(first.case, network=tiny)), find)
    if work.device.type == "cuda":
        return _peak_on_device(work, find)
    return _peak_of_process(work, find)


def _peak_on_device(work: Workload, find: Find) -> float:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    base = torch.cuda.memory_allocated()
    _iterate(work, find)
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - base) / 2**20


def _peak_of_process(work: Workload, find: Find) -> float:
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")  # sets the peak back to the present size, proc(5)
    base = psutil.Process().memory_info().rss
    _iterate(work, find)
    return (_peak_rss() - base) / 2**20


def _peak_rss() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
