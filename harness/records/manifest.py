"""What a run was: OUT/runs/<run>.json, beside the rows that name it. Written when it starts, and
again as its data become known.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from harness.records.build import now
from harness.records.fields import Record
from harness.system import checkout
from harness.system.facts import Machine
from harness.system.files import unwritable, write_whole
from harness.system.installed import version

# Packages whose versions decide what a run computes or how fast, beside the frameworks.
PACKAGES = ("torch", "numpy", "numba", "triton", "torchvision", "scipy", "pandas", "tonic")
SYSFS_CPU = Path("/sys/devices/system/cpu/cpu0/cpufreq")


@dataclass(frozen=True)
class DataUsed:
    """One data set that rows of a run tell of."""

    dataset: str
    source: str
    sha256: str
    test_sha256: str | None


@dataclass(frozen=True)
class Manifest:
    """One run with all that one must know to do it again. None: the system did not tell."""

    command: tuple[str, ...]
    started: str  # UTC, ISO 8601
    machine: Machine
    diff_sha256: str | None  # of what differs from the commit
    packages: dict[str, str]
    clock_mhz: tuple[float, float] | None  # least and most
    governor: str | None  # how the system sets the clock
    load: float  # of the minute before
    data: tuple[DataUsed, ...] = ()

    @classmethod
    def of_command(cls, machine: Machine, frameworks: Iterable[str]) -> Manifest:
        """Of the command that this process was started with, which runs these frameworks."""
        found = {name: version(name) for name in (*PACKAGES, *frameworks)}
        return cls(
            command=("harness", *sys.argv[1:]),
            started=now(),
            machine=machine,
            diff_sha256=checkout.diff_sha256(),
            packages={name: each for name, each in found.items() if each},
            clock_mhz=_clocks(),
            governor=_content(SYSFS_CPU / "scaling_governor"),
            load=round(psutil.getloadavg()[0], 2),
        )

    def with_data(self, rows: Iterable[Record]) -> Manifest:
        """The same with the data that rows tell of."""
        new = {
            DataUsed(row.dataset, row.data_source or "", row.data_sha256, row.data_test_sha256)
            for row in rows
            if row.data_sha256
        } - set(self.data)
        return replace(self, data=(*self.data, *sorted(new, key=str))) if new else self

    def write(self, out: Path, run: str) -> None:
        """Raises UsageError where the folder cannot be written."""
        path = out / "runs" / f"{run}.json"
        text = json.dumps({"run": run, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"
        try:
            write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))
        except OSError as error:
            raise unwritable(path, error) from error


def _content(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _clocks() -> tuple[float, float] | None:
    least, most = _content(SYSFS_CPU / "cpuinfo_min_freq"), _content(SYSFS_CPU / "cpuinfo_max_freq")
    if least is None or most is None:
        return None
    return float(least) / 1000, float(most) / 1000  # they are in kHz
