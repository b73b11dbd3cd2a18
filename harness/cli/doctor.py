"""`harness doctor`."""

from __future__ import annotations

from pathlib import Path

from harness.cli import options
from harness.cli.console import out
from harness.cli.list import Listing, frameworks
from harness.system.installed import version

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "tonic", "aedat")


def doctor(data_root: options.DataRoot = None) -> None:
    """Say what is here: versions, threads, devices, data, and how to get what is missing."""
    from harness import datasets
    from harness.cli import terminal

    out.print(terminal.rows(*_machine(), title="Machine"))
    packages = [(name, _version(name)) for name in PACKAGES]
    out.print(terminal.rows(("package", "version"), packages, title="Packages"))
    out.print(terminal.rows(*frameworks(), title="Frameworks"))
    root = datasets.data_root(data_root)
    out.print(terminal.rows(*_data(root), title=f"Data under {root}"))


def _machine() -> Listing:
    import torch

    from harness.system import machine

    cuda = torch.cuda.is_available()
    here = machine.describe(torch.device("cuda" if cuda else "cpu"))
    return ("", ""), [
        ("CPU", f"{here.cpu}, {here.cores} cores, torch uses {here.threads} threads"),
        ("memory", f"{here.memory_mib:,} MiB"),
        ("CUDA device", here.gpu or "none: --device cuda is refused"),
        ("system", f"{here.os}, Python {here.python}"),
        ("harness", here.harness + (f", commit {here.commit}" if here.commit else "")),
        ("speed variables", here.environment or "none set"),
    ]


def _version(package: str) -> str:
    return version(package) or f"not installed: pip install 'snn-harness[all]' brings {package}"


def _data(root: Path) -> Listing:
    from harness import datasets
    from harness.spec import paper

    found = [datasets.find(name, root) for name in paper.SETTINGS]
    lines = [
        (each.title, *(_samples(about) for about in (each.train, each.test)), each.problem)
        for each in found
    ]
    return ("data set", "train", "test", "problem"), lines


def _samples(about: object) -> str:
    return "none" if about is None else str(about)
