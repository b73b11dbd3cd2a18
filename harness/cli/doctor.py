"""`harness doctor`."""

from __future__ import annotations

from pathlib import Path

from harness.cli import options
from harness.cli.console import out
from harness.cli.list import Lines, frameworks
from harness.cli.stored import check_data_root
from harness.system.installed import version

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "tonic", "aedat")


def doctor(data_root: options.DataRoot = None) -> None:
    """Say what is here and how to get what is missing."""
    check_data_root(data_root)
    from harness import datasets
    from harness.report.table import Table

    root = datasets.data_root(data_root)
    out.print(Table(_machine(), "Machine"))
    out.print(Table(_packages(), "Packages"))
    out.print(Table(frameworks(), "Frameworks"))
    out.print(Table(_data(root), f"Data under {root}"))


def _machine() -> Lines:
    import torch

    from harness.system import machine

    cuda = torch.cuda.is_available()
    here = machine.describe(torch.device("cuda" if cuda else "cpu"))
    facts = {
        "CPU": f"{here.cpu}, {here.cores} cores, torch uses {here.threads} threads",
        "memory": f"{here.memory_mib:,} MiB",
        "CUDA device": here.gpu or "none: --device cuda is refused",
        "system": f"{here.os}, Python {here.python}",
        "harness": here.harness + (f", commit {here.commit}" if here.commit else ""),
        "speed variables": here.environment or "none set",
    }
    return [{"": name, " ": value} for name, value in facts.items()]


def _packages() -> Lines:
    missing = "not installed: pip install 'snn-harness[all]' brings {}".format
    return [{"package": name, "version": version(name) or missing(name)} for name in PACKAGES]


def _data(root: Path) -> Lines:
    from harness import datasets
    from harness.spec import paper

    found = [datasets.find(name, root) for name in paper.SETTINGS]
    return [
        {
            "data set": each.title,
            "train": "none" if each.train is None else str(each.train),
            "test": "none" if each.test is None else str(each.test),
            "problem": each.problem,
        }
        for each in found
    ]
