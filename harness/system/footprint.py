"""What memory a case will take, about, before it takes any; and what there is."""

from __future__ import annotations

import psutil
import torch

from harness.spec import Case, Timed

# What a framework keeps of one neuron and step until the backward pass, as measured: 24 to 32.
BYTES_PER_NEURON_STEP = 32
WEIGHT_COPIES = 4  # weights, gradients, and two of Adam's
SPARE = 0.1  # of the machine's memory, which stays free: estimates are rough


def iteration_mib(case: Case) -> float:
    """What an iteration takes beside the weights, about."""
    neurons = sum(stage.neurons for stage in case.network.stages)
    return BYTES_PER_NEURON_STEP * neurons * case.T * case.batch_size / 2**20


def family(pid: int) -> list[psutil.Process]:
    """A process and those that it has started: a runtime of its own may be one. Raises psutil's."""
    own = psutil.Process(pid)
    return [own, *own.children(recursive=True)]


def weights_mib(case: Case) -> float:
    """What a network holds between iterations, about."""
    infers = isinstance(case, Timed) and case.mode == "inference"
    copies = 1 if infers else WEIGHT_COPIES
    return copies * case.network.weights * 4 / 2**20


def available_mib(device: str) -> float:
    """What may be taken on a device now."""
    if device != "cpu":
        return torch.cuda.mem_get_info(torch.device(device))[0] / 2**20
    return psutil.virtual_memory().available / 2**20


def spare_mib() -> float:
    """What of the machine's memory is to stay free."""
    return SPARE * psutil.virtual_memory().total / 2**20


def too_large(case: Case, beside: float = 0.0) -> str | None:
    """Why a case cannot fit, with the estimate; None where it can. `beside`: MiB of its data."""
    needed = iteration_mib(case) + weights_mib(case) + beside
    there = available_mib(case.device)
    if needed <= there:
        return None
    return (
        f"it would take about {needed:,.0f} MiB and {there:,.0f} MiB are free on {case.device}: "
        "use a smaller --batch-size, --steps or --width"
    )


def is_exhausted(error: BaseException) -> bool:
    """Whether a process has run out of memory: nothing that it does from now on can be trusted."""
    return isinstance(error, MemoryError) or "can't allocate memory" in str(error)
