"""`harness list` and `harness doctor`: what can be chosen, and what is here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.console import out, takes
from harness.spec import Options, UsageError, contender, paper
from harness.system.installed import version

if TYPE_CHECKING:  # torch's import takes seconds
    from adapters.facts import Facts

Lines = list[dict[str, str]]  # a value for each column
PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "tonic", "aedat")


def list_(
    what: Annotated[
        str, typer.Argument(metavar="suites|frameworks|networks|datasets|claims|baselines")
    ],
) -> None:
    """List what can be chosen."""
    if what not in LISTS:
        raise UsageError(f"unknown list {what!r}, choose from {', '.join(LISTS)}")
    lines = LISTS[what]()
    from harness.report.table import Table, unbroken

    if out.is_terminal:
        out.print(Table(lines))
    else:  # whoever reads on wants each thing in a line, however long
        sys.stdout.write(unbroken(Table(lines)))


@takes("data_root")
def doctor(**given: Any) -> None:
    """Say what is here and how to get what is missing."""
    options = Options.of(**given)
    from harness import datasets
    from harness.report.table import Table

    root = datasets.data_root(options.data_root)
    out.print(Table(_machine(), "Machine"))
    missing = "not installed: pip install 'snn-harness[all]' brings {}".format
    packages = [{"package": each, "version": version(each) or missing(each)} for each in PACKAGES]
    out.print(Table(packages, "Packages"))
    out.print(Table(_frameworks(), "Frameworks"))
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
        "harness": f"{here.harness}" + (f", commit {here.commit}" if here.commit else ""),
        "speed variables": here.environment or "none set",
    }
    return [{"": name, " ": value} for name, value in facts.items()]


def _data(root: Path) -> Lines:
    from harness import datasets

    return [
        {
            "data set": each.title,
            "train": str(each.train or "none"),
            "test": str(each.test or "none"),
            "problem": each.problem,
        }
        for each in (datasets.find(name, root) for name in paper.SETTINGS)
    ]


def _frameworks() -> Lines:
    """Every framework and variant, and how to get those that are missing."""
    import adapters
    from adapters import facts

    facts.look(adapters.names())
    forms = (each for name in adapters.names() for each in _forms(name, facts.of(name)))
    names = ("framework", "version", "what it computes")
    return [dict(zip(names, each, strict=True)) for each in forms]


def _forms(name: str, known: Facts) -> Iterator[tuple[str, str, str]]:
    if known.missing:
        yield name, "", known.missing
        return
    said = [_function(known.deviations), *(f"{each} at import" for each in known.changed)]
    yield name, known.version or "", "; ".join(said)
    for variant, deviations in known.variants.items():
        yield contender(name, variant), "", _function(deviations)


def _function(deviations: Sequence[str]) -> str:
    return "a different model: " + "; ".join(deviations) if deviations else "the paper's function"


def _suites() -> Lines:
    from harness import suites

    return [{"suite": name, "what it measures": suites.about(name)} for name in suites.SUITES]


def _networks() -> Lines:
    head = "notation (OurModel, AlexNet, CIFARNet: Table 2; the others: Table 1)"
    # in 80 columns the longest notation leaves room for a name alone
    of = {kind: [row for row in paper.NETWORKS if row.static == kind] for kind in (True, False)}
    pairs = [("images:", ""), *((row.name, row.notation) for row in of[True])]
    pairs += [("", ""), ("events:", ""), *((row.name, row.notation) for row in of[False])]
    return [{"network": name, head: notation} for name, notation in pairs]


def _datasets() -> Lines:
    return [
        {
            "data set": name,
            "title": row.title,
            "kind": "images" if row.static else "events",
            "input": "x".join(map(str, row.input_shape)),
            "neuron (Table 7)": str(row.lif),
        }
        for name, row in paper.SETTINGS.items()
    ]


def _claims() -> Lines:
    from harness.analysis import claims

    return [
        {"claim of the paper": each.claim, "published": each.value, "how it is tested": each.test}
        for each in claims.CLAIMS
    ]


def _baselines() -> Lines:
    """Every other system of Tables 3 to 6, on what it runs, and whose parameters it has."""
    from harness import baselines

    lines = []
    for name in baselines.names():
        try:
            system = baselines.load(name)
            title = f"{system.title} ({system.paper})"
            given = " ".join((system.input, *system.windows))
            said = (title, ", ".join(system.datasets), given, system.fidelity)
        except UsageError as error:  # it does not load here, or says too little
            said = ("", "", "", str(error))
        heads = ("baseline", "system", "data sets", "input", "fidelity")
        lines.append(dict(zip(heads, (name, *said), strict=True)))
    return lines


LISTS: dict[str, Callable[[], Lines]] = {
    "suites": _suites,
    "frameworks": _frameworks,
    "networks": _networks,
    "datasets": _datasets,
    "claims": _claims,
    "baselines": _baselines,
}
