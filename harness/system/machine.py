"""What the machine is and how it stands, as far as the system tells."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

import psutil
import torch

from harness.spec import Case
from harness.system import checkout
from harness.system.facts import Machine, Moment
from harness.system.version import VERSION

C = TypeVar("C", bound=Case)

# Set by users or by a cluster, and known to change how fast torch runs.
SPEED_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OMP_PROC_BIND",
    "OMP_WAIT_POLICY",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "GOMP_CPU_AFFINITY",
    "ONEDNN_MAX_CPU_ISA",
    "DNNL_MAX_CPU_ISA",
    "ATEN_CPU_CAPABILITY",
    "LD_PRELOAD",
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_MAX_",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "GLIBC_TUNABLES",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_TF32_OVERRIDE",
    "NUMBA_CPU_NAME",
    "NUMBA_CPU_FEATURES",
    "SJ_LIF_CUDA_IMPLEMENTATION",
)

# Those with which a processor does as if it were a lesser one.
FORCING = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")


def describe(device: torch.device) -> Machine:
    """The machine as every row of a run keeps it."""
    return Machine(
        cpu=cpu_name(),
        capability=_capability(),
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory_mib=psutil.virtual_memory().total // 2**20,
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        os=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=str(torch.__version__),
        harness=VERSION,
        commit=checkout.commit(),
        environment=_variables(),
    )


def speed() -> tuple[object, ...]:
    """What of the machine decides how fast an operation of torch is; its `repr` tells two apart."""
    return cpu_name(), _capability(), str(torch.__version__), _variables()


def _variables() -> str | None:
    """Those of the environment that change the speed."""
    said = [f"{name}={os.environ[name]}" for name in SPEED_VARIABLES if name in os.environ]
    return " ".join(said) or None


def _capability() -> str:
    """The instructions that torch uses, as it names them, and whether there is a matrix unit.

    With one, bf16 takes a fifth of the time. Two of one name, with and without, are two machines;
    so is one that is told to do with fewer instructions than it has.
    """
    named = str(torch.backends.cpu.get_cpu_capability())
    named += " and AMX" if has_amx() else ""
    return f"{named} (forced)" if any(name in os.environ for name in FORCING) else named


def has_amx() -> bool:
    """Whether there is a matrix unit, and oneDNN may use it."""
    cpu = torch.device("cpu")
    return bool(torch.cpu._is_amx_tile_supported()) and has_bf16(cpu)


def has_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for bf16. Without, torch goes through slow detours."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # what oneDNN asks before it takes bf16: AVX-512 on x86; torch has no public name for it
    return torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def suited(cases: Iterable[C]) -> tuple[C, ...]:
    """Without the cases in bf16 whose device has no instructions for it.

    There bf16 takes many times what float32 does, and most of a run's budget with it: it is
    measured where it is asked for.
    """
    return tuple(
        case for case in cases if case.precision != "bf16" or has_bf16(torch.device(case.device))
    )


def moment() -> Moment:
    """The machine's state now."""
    sensors = getattr(psutil, "sensors_temperatures", dict)()  # Linux and FreeBSD have it
    readings = [entry.current for entries in sensors.values() for entry in entries]
    try:
        frequency = psutil.cpu_freq()
    except (OSError, NotImplementedError):  # containers and some architectures hide it
        frequency = None
    return Moment(
        load=round(psutil.getloadavg()[0], 2),
        clock_mhz=round(frequency.current) if frequency else None,
        temperature_c=max(readings, default=None),
    )


def cpu_name() -> str:
    # py-cpuinfo gives the same, after a second and in a process of its own
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
