"""What a process computes with beside its arguments, and may be changed by whoever is called."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch.nn import functional

Probe = Callable[[], object]


@dataclass(frozen=True)
class State:
    """The state of this process at one time, a value for each probe."""

    values: tuple[tuple[str, object], ...]

    def changes(self, later: State) -> tuple[str, ...]:
        """What is another in the later state, as "sets torch's threads to 1"."""
        now = dict(later.values)
        return tuple(
            f"sets {name} to {_text(now[name])}"
            for name, value in self.values
            if name in now and now[name] != value
        )


def taken() -> State:
    """The state of this process now. It takes a fraction of a millisecond and changes nothing."""
    return State(tuple((name, probe()) for name, probe in PROBES))


def _text(value: object) -> str:
    match value:
        case bool():
            return "on" if value else "off"
        case signal.Handlers():
            return value.name
        case _ if callable(value):
            module = getattr(value, "__module__", None) or "a place without a name"
            return f"{module}.{getattr(value, '__qualname__', type(value).__qualname__)}"
        case _:
            return " ".join(str(value).split())[:200]


def _deterministic() -> str:
    if not torch.are_deterministic_algorithms_enabled():
        return "off"
    return "a warning" if torch.is_deterministic_algorithms_warn_only_enabled() else "on"


def _autocast(device: str) -> str:
    return str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else "off"


def _cudnn() -> str:
    cudnn = torch.backends.cudnn
    names = ("enabled", "benchmark", "deterministic", "allow_tf32")
    return ", ".join(name for name in names if getattr(cudnn, name)) or "nothing"


def _collector() -> str:
    return f"thresholds {gc.get_threshold()}" if gc.isenabled() else "off"


_SMALLEST_NORMAL = sys.float_info.min  # in a name, so that its half is computed when it is asked


def _denormals() -> str:
    return "kept" if _SMALLEST_NORMAL / 2 > 0 else "flushed to 0"


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 as text
    except FileNotFoundError:
        return "one that is no longer there"


def _cores() -> tuple[int, ...] | None:
    if sys.platform != "linux":  # others do not say
        return None
    return tuple(sorted(os.sched_getaffinity(0)))


def _priority() -> int | None:
    return None if sys.platform == "win32" else os.getpriority(os.PRIO_PROCESS, 0)


def _fixed(place: object, name: str) -> Probe:
    return lambda: getattr(place, name)


def _handler(number: signal.Signals) -> Probe:
    return lambda: signal.getsignal(number)


def _signals() -> Iterator[tuple[str, Probe]]:
    for number in sorted(signal.valid_signals()):
        if isinstance(number, signal.Signals):  # the system has more than have names
            yield f"the handler of {number.name}", _handler(number)


def _functions() -> Iterator[tuple[str, Probe]]:
    """What somebody may have put another in the place of: the clock, and what adapters call."""
    for name in ("monotonic", "perf_counter"):
        yield f"time.{name}", _fixed(time, name)
    for name in ("conv2d", "matmul", "mul", "stack"):
        yield f"torch.{name}", _fixed(torch, name)
    for name in ("avg_pool2d", "conv2d", "linear"):
        yield f"torch.nn.functional.{name}", _fixed(functional, name)
    yield "torch.Tensor.backward", _fixed(torch.Tensor, "backward")
    yield "torch.nn.Module.__call__", _fixed(torch.nn.Module, "__call__")


PROBES: tuple[tuple[str, Probe], ...] = (
    ("torch's threads", torch.get_num_threads),
    ("torch's threads between operations", torch.get_num_interop_threads),
    ("the default dtype", torch.get_default_dtype),
    ("the default device", torch.get_default_device),
    ("deterministic algorithms", _deterministic),
    ("the precision of float32 products", torch.get_float32_matmul_precision),
    ("gradients", torch.is_grad_enabled),
    ("inference mode", torch.is_inference_mode_enabled),
    ("mkldnn", lambda: torch.backends.mkldnn.enabled),
    ("cuDNN's switches", _cudnn),
    ("anomaly detection", torch.is_anomaly_enabled),
    ("autocast on the CPU", lambda: _autocast("cpu")),
    ("autocast on CUDA", lambda: _autocast("cuda")),
    ("denormal numbers", _denormals),
    ("the garbage collector", _collector),
    ("the working folder", _folder),
    ("the cores to run on", _cores),
    ("the priority", _priority),
    *_functions(),
    *_signals(),
)
