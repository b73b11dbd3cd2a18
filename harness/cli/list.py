"""`harness list` and `harness doctor`: what can be chosen, and what is installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.analysis.words import counted
from harness.cli.console import Pipe, out, takes
from harness.machine.installed import version
from harness.spec import FORMS, NOT_DECLARED, Contender, NeuronSource, Options, UsageError, paper

if TYPE_CHECKING:
    from harness.reports.table import Table

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "tonic", "aedat")
WHOLE = 10_000  # columns
# Short, for a table in 80 columns.
NEURONS: dict[NeuronSource | None, str] = {
    "the framework's own class": "its class",
    "our function in the framework's cell": "ours, its cell",
    "ours": "ours",
}


def list_(
    what: Annotated[
        str, typer.Argument(metavar="suites|frameworks|networks|datasets|claims|baselines")
    ],
    claim: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Of a claim: all of it.")
    ] = None,
) -> None:
    """List what can be chosen."""
    if what not in LISTS:
        raise UsageError(f"unknown list {what!r}, choose from {', '.join(LISTS)}")
    if claim is not None and what != "claims":
        raise UsageError(f"{claim!r}: of claims alone one is listed by its id")
    # whoever reads on from a pipe wants each thing in a line, however long; deviations are prose
    is_whole = what != "frameworks" and not out.is_terminal
    to = Pipe(emoji=False, width=WHOLE) if is_whole else out
    to.print(LISTS[what]() if claim is None else _claim(claim))


@takes("data_root")
def doctor(**given: Any) -> None:
    """Show the machine, packages, frameworks and data sets, and how to get what is missing."""
    options = Options.of(**given)
    import torch

    from adapters import facts
    from harness import datasets
    from harness.machine import host

    root = datasets.data_root(options.data_root)
    here = host.describe(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    cores, threads = counted(here.cores or 0, "core"), counted(here.threads or 0, "thread")
    properties = {
        "CPU": f"{here.cpu}, {cores}, torch uses {threads}",
        "memory": f"{here.memory_mib:,} MiB",
        "CUDA device": here.gpu or "none: --device cuda is refused",
        "system": f"{here.os}, Python {here.python}",
        "harness": f"{here.harness}" + (f", commit {here.commit}" if here.commit else ""),
        "speed variables": here.environment or "none set",
    }
    out.print(_table("Machine", ("property", "value"), properties.items()))
    missing = "not installed: pip install 'snn-harness[all]' brings {}".format
    packages = ((each, version(each) or missing(each)) for each in PACKAGES)
    out.print(_table("Packages", ("package", "version"), packages))
    out.print(_frameworks("Frameworks"))
    for each in facts.refused():
        out.print(each)
    found = (datasets.find(name, root) for name in paper.SETTINGS)
    data = ((e.title, str(e.train or "none"), str(e.test or "none"), e.problem) for e in found)
    out.print(_table(f"Data under {root}", ("data set", "train", "test", "problem"), data))


def _table(title: str, heads: Sequence[str], lines: Iterable[Sequence[str]], *notes: str) -> Table:
    from harness.reports.table import Table

    return Table([dict(zip(heads, line, strict=True)) for line in lines], title, notes=notes)


def _frameworks(title: str = "") -> Table:
    """Return a table of all frameworks and variants, and how to get those that are missing."""
    import adapters
    from adapters import facts
    from harness.suites import SUITES

    opt_in, broken = SUITES["acceleration"].opt_in, facts.broken()

    def forms() -> Iterator[tuple[str, ...]]:
        for name in adapters.names():
            known = facts.of(name)
            text = [_function(known.deviations), *(f"{each} at import" for each in known.changed)]
            text += known.undeclared
            usual = "" if name in opt_in or name in broken else "yes"
            neuron = "" if known.missing else NEURONS.get(known.neuron, NOT_DECLARED)
            release = re.split(" [(]|, ", known.version or "")[0]  # without how it was built
            yield name, release, known.missing or "; ".join(text), usual, neuron
            for variant, deviations in known.variants.items():
                neuron = NEURONS.get(known.neuron_of(variant), NOT_DECLARED)
                yield Contender(name, variant=variant).name, "", _function(deviations), "", neuron

    facts.discover(adapters.names())
    heads = ("framework", "version", "function", "default", "neuron")
    named = ", ".join(facts.versioned())
    note = f"Name a version as norse@1.0.0 or norse@PATH ({named}); harness versions has them."
    also = ", ".join(f"NAME:{form}" for form in FORMS)
    told = (f"{short}: {source}" for source, short in NEURONS.items() if source != short)
    also = f"Any also runs in another form: {also}."
    return _table(
        title, heads, forms(), f"Neuron, whose code it is: {'; '.join(told)}.", note, also
    )


def _function(deviations: Sequence[str]) -> str:
    return "another: " + "; ".join(deviations) if deviations else "the paper's"


def _suites() -> Table:
    from harness import suites

    lines = ((name, suites.about(name)) for name in suites.SUITES)
    return _table("", ("suite", "what it measures"), lines)


def _networks() -> Table:
    head = "notation (OurModel, AlexNet, CIFARNet: Table 2; the others: Table 1)"
    # in 80 columns the longest notation leaves room for a name alone
    lines: list[tuple[str, str]] = []
    for static in (True, False):
        lines.append(("images:" if static else "events:", ""))
        lines += [(each.name, each.notation) for each in paper.NETWORKS if each.static == static]
    return _table("", ("network", head), lines)


def _datasets() -> Table:
    lines = []
    for name, of in paper.SETTINGS.items():
        kind, shape = "images" if of.static else "events", "x".join(map(str, of.input_shape))
        lines.append((name, of.title, kind, shape, str(of.lif)))
    return _table("", ("data set", "title", "kind", "input", "neuron (Table 7)"), lines)


def _claims() -> Table:
    from harness.analysis import claims

    heads = ("id", "claim of the paper", "what answers it")
    return _table("", heads, ((each.id, each.claim, each.rule) for each in claims.CLAIMS))


def _claim(name: str) -> Table:
    """Return all that is known of a claim before anything is run."""
    from harness.analysis import claims

    known = {each.id: each for each in claims.CLAIMS}
    if name not in known:
        raise UsageError(f"unknown claim {name!r}, choose from {', '.join(known)}")
    of = known[name]
    lines = [("published", of.value), ("rule", of.rule), ("in full", of.test)]
    lines.append(("to run", of.command))
    return _table("", (name, of.claim), lines)


def _baselines() -> Table:
    """Every baseline of Tables 3 to 6, on what it runs, and where its parameters come from."""
    from harness import baselines

    def line(name: str) -> tuple[str, ...]:
        try:
            of = baselines.load(name)
        except UsageError as error:  # it does not load here, or its description is incomplete
            return name, "", "", "", str(error)
        title, given = f"{of.title} ({of.paper})", " ".join((of.input, *of.windows))
        return name, title, ", ".join(of.datasets), given, of.fidelity

    heads = ("baseline", "title", "data sets", "input", "fidelity")
    return _table("", heads, map(line, baselines.names()))


_LISTS = (_suites, _frameworks, _networks, _datasets, _claims, _baselines)
LISTS: dict[str, Callable[[], Table]] = {each.__name__[1:]: each for each in _LISTS}
