"""The machine, its state, and the global settings that a process computes with."""

from __future__ import annotations

import gc
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import psutil
import torch

from harness.machine import installed
from harness.machine.installed import Machine, Moment
from harness.spec import C

# Those with which a processor does as if it were a lesser one.
ONEDNN_LIMITS = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA")
FORCING = ("ATEN_CPU_CAPABILITY", *ONEDNN_LIMITS)
# Set by users or by a cluster, and known to change how fast torch runs.
SPEED_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_PROC_BIND", "OMP_WAIT_POLICY"),
    *("KMP_AFFINITY", "KMP_BLOCKTIME", "GOMP_CPU_AFFINITY", "GOMP_SPINCOUNT"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY"),
    *("LD_PRELOAD", "MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_"),
    *("MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE"),
    *("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "SJ_LIF_CUDA_IMPLEMENTATION"),
    *("NUMBA_NUM_THREADS", "NUMBA_OPT", "NUMBA_DISABLE_JIT", "OMP_THREAD_LIMIT", "OMP_DYNAMIC"),
    *("MKL_DYNAMIC", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE", "PYTORCH_JIT"),
    *("TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE", "OMP_PLACES", "MKL_ENABLE_INSTRUCTIONS"),
    *("CUDA_LAUNCH_BLOCKING", "XLA_FLAGS", "NPROC"),
)


def describe(device: torch.device) -> Machine:
    """Return the machine and software that the rows of a run record."""
    cpu, capability, torch_version, environment = speed_factors()
    return Machine(
        cpu=cpu,
        capability=capability,
        cores=os.cpu_count() or 1,
        threads=torch.get_num_threads(),
        memory_mib=psutil.virtual_memory().total // 2**20,
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        os=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        torch=torch_version,
        harness=installed.VERSION,
        commit=installed.commit(),
        environment=environment,
    )


def speed_factors() -> tuple[str, str, str, str | None]:
    """Return what speed depends on: CPU, its instructions, torch's version, settings if any."""
    settings = [f"{name}={os.environ[name]}" for name in SPEED_VARIABLES if name in os.environ]
    allowed, cores = len(_affinity()), os.cpu_count() or 1
    if 0 < allowed < cores:
        settings.append(f"cores={allowed}/{cores}")
    if priority := psutil.Process().nice():
        settings.append(f"nice={priority}")
    return cpu_name(), _capability(), str(torch.__version__), " ".join(settings) or None


def _affinity() -> set[int]:  # empty where the system does not tell
    ask = getattr(os, "sched_getaffinity", None)
    return ask(0) if ask else set()


def _capability() -> str:
    """Return the instruction set that torch uses: "AVX512 and AMX", "AVX2 (forced)"."""
    # two of one name are two machines where one has a matrix unit (bf16 takes a fifth of the time)
    # or is restricted to fewer instructions than it has
    named = str(torch.backends.cpu.get_cpu_capability())
    named += " and AMX" if has_amx() else ""
    return f"{named} (forced)" if any(name in os.environ for name in FORCING) else named


def has_amx() -> bool:
    """Return whether the CPU has a matrix unit (AMX) and bf16, and oneDNN may use them."""
    has = bool(torch.cpu._is_amx_tile_supported()) and _onednn_may_use("AMX")
    return has and has_bf16(torch.device("cpu"))


def has_bf16(device: torch.device) -> bool:
    """Return whether the device has instructions for bf16; without, torch emulates it slowly."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch has no public names for these
    takes_bf16 = torch.backends.mkldnn.is_available() and bool(
        torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )
    if platform.machine() not in ("x86_64", "AMD64"):
        return takes_bf16
    # on x86 oneDNN takes bf16 wherever AVX-512 is, and converts each number without these
    has = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return takes_bf16 and has and _onednn_may_use("BF16", "FP16", "AMX", "AVX10")


def _onednn_may_use(*instructions: str) -> bool:
    """Whether a user's limit of oneDNN's instructions, if there is one, has one of these words."""
    limits = (os.environ.get(name, "").upper() for name in ONEDNN_LIMITS)
    most = next(filter(None, limits), "ALL")
    return most in ("ALL", "DEFAULT") or any(name in most for name in instructions)


def without_emulated_bf16(cases: Iterable[C]) -> tuple[C, ...]:
    """Return the cases without those in bf16 on a device that has no instructions for it.

    There they take many times as long as float32, and most of a run's budget.
    """
    return tuple(
        case
        for case in cases
        if case.contender.precision != "bf16" or has_bf16(torch.device(case.device))
    )


def moment() -> Moment:
    """Return the machine's load, clock and highest temperature now."""
    sensors = getattr(psutil, "sensors_temperatures", dict)()  # Linux and FreeBSD have it
    readings = [entry.current for entries in sensors.values() for entry in entries]
    frequency = None
    with suppress(OSError, NotImplementedError):  # containers and some architectures hide it
        frequency = psutil.cpu_freq()
    return Moment(
        load=round(psutil.getloadavg()[0], 2),
        clock_mhz=round(frequency.current) if frequency else None,
        temperature_c=max(readings, default=None),
    )


def cpu_name() -> str:
    """Return the CPU's name, from /proc/cpuinfo if there: py-cpuinfo takes a second for it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


SMALLEST_NORMAL = sys.float_info.min  # so that its half is computed when it is asked
# Global settings that a process computes with, and that a contender may change.
SETTINGS: Mapping[str, Callable[[], object]] = {
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
    "the cores to run on": _affinity,
    "the priority": lambda: psutil.Process().nice(),
}


def settings() -> dict[str, object]:
    """Return this process's global settings (see SETTINGS) now, in under a millisecond."""
    return {name: ask() for name, ask in SETTINGS.items()}


def changes(former: Mapping[str, object]) -> tuple[str, ...]:
    """Return in words which settings differ from the former: "sets torch's threads to 1"."""
    words = {"True": "on", "False": "off"}
    new = {name: value for name, value in settings().items() if value != former[name]}
    return tuple(f"sets {name} to {words.get(str(new[name]), new[name])}" for name in new)
