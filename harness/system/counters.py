"""The counters of energy that a machine has: RAPL's of its processors, NVML's of a GPU."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

POWERCAP = Path("/sys/class/powercap")  # where Linux shows RAPL, of Intel's and AMD's processors
WITHOUT = "the machine shows no counter of energy"


class NoCounter(Exception):
    """No counter of energy can be read; the message says why."""


class EnergyCounter(Protocol):
    """One that only grows."""

    @property
    def name(self) -> str:
        """Whose it is, and of what."""
        ...

    def joules(self) -> float:
        """Since some point in time."""
        ...


def counter(device: torch.device) -> EnergyCounter:
    """The counter of what the device takes. Raises NoCounter."""
    return nvml(device) if device.type == "cuda" else rapl()


@dataclass(eq=False)
class Zone:
    """One of RAPL's counters, which starts at 0 again past its range."""

    name: str
    path: Path  # of the counter
    span: int  # uJ, its range
    last: int = 0  # uJ, as it was read
    turns: int = 0

    def joules(self) -> float:
        """Since it was last at 0 when this was made. Raises NoCounter where it cannot be read."""
        now = int(_read(self.path))
        self.turns += now < self.last
        self.last = now
        return (self.turns * self.span + now) / 1e6


@dataclass(frozen=True, eq=False)
class Rapl:
    """The processors' packages, and their memory where it is counted."""

    zones: tuple[Zone, ...]

    @property
    def name(self) -> str:
        """Whose it is, and of what."""
        return f"RAPL {', '.join(zone.name for zone in self.zones)}"

    def joules(self) -> float:
        """Of all of them."""
        return sum(zone.joules() for zone in self.zones)


def rapl(folder: Path = POWERCAP) -> Rapl:
    """RAPL's counters. Raises NoCounter."""
    zones = []
    for path in sorted(folder.glob("*-rapl:*")):
        name = _read(path / "name")
        # the others are parts of a package, or (psys) hold it
        if name.startswith("package") or name == "dram":
            span = int(_read(path / "max_energy_range_uj"))
            zones.append(Zone(name, path / "energy_uj", span))
    if not zones:
        raise NoCounter(f"{WITHOUT}: no RAPL under {folder}")
    found = Rapl(tuple(zones))
    found.joules()
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except PermissionError as error:
        raise NoCounter(f"{path} may be read by root alone: let it be read, or run as root") from (
            error
        )
    except OSError as error:
        raise NoCounter(f"{path} cannot be read ({error.strerror or error})") from error


@dataclass(frozen=True)
class Nvml:
    """A GPU's counter since its driver was loaded, with its memory's share."""

    library: Any  # nvidia-ml-py's module, which is not typed
    handle: Any
    name: str

    def joules(self) -> float:
        """Since the driver was loaded."""
        return self.library.nvmlDeviceGetTotalEnergyConsumption(self.handle) / 1e3


def nvml(device: torch.device) -> Nvml:
    """A GPU's counter. Raises NoCounter."""
    try:
        import pynvml
    except ImportError as error:
        raise NoCounter(
            "NVML is read through nvidia-ml-py: pip install 'snn-harness[energy]'"
        ) from error
    try:
        pynvml.nvmlInit()
        # CUDA's numbers of devices are not NVML's
        uuid = f"GPU-{torch.cuda.get_device_properties(device).uuid}"
        found = Nvml(pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid), "NVML, the whole GPU")
        found.joules()
    except pynvml.NVMLError as error:
        raise NoCounter(f"{WITHOUT}: NVML says {error}") from error
    return found
