"""`harness list` and `harness doctor`: what can be chosen, and what is installed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.analysis.words import counted
from harness.cli.console import Pipe, out, takes
from harness.machine.installed import version
from harness.spec import FORMS, NOT_DECLARED, Contender, NeuronSource, Options, UsageError, paper

if TYPE_CHECKING:
    from adapters.facts import Facts
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
    # a pipe gets each thing in a line, however long; notes on frameworks are prose
    is_whole = what != "frameworks" and not out.is_terminal
    to = Pipe(emoji=False, width=WHOLE) if is_whole else out
    to.print(LISTS[what]() if claim is None else _claim(claim))


@takes("data_root")
def doctor(**values: Any) -> None:
    """Show the machine, packages, frameworks and data sets, and how to get what is missing."""
    options = Options.parse(**values)
    import torch

    from adapters import facts
    from harness import datasets
    from harness.machine import host

    root = datasets.data_root(options.data_root)
    machine = host.describe(torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    cores, threads = counted(machine.cores or 0, "core"), counted(machine.threads or 0, "thread")
    properties = {
        "CPU": f"{machine.cpu}, {cores}, torch uses {threads}",
        "memory": f"{machine.memory_mib:,} MiB",
        "CUDA device": machine.gpu or "none: --device cuda is refused",
        "system": f"{machine.os}, Python {machine.python}",
        "harness": f"{machine.harness}" + (f", commit {machine.commit}" if machine.commit else ""),
        "speed variables": machine.environment or "none set",
    }
    out.print(_table("Machine", ("property", "value"), properties.items()))
    missing = "not installed: pip install 'snn-harness[all]' brings {}".format
    packages = ((name, version(name) or missing(name)) for name in PACKAGES)
    out.print(_table("Packages", ("package", "version"), packages))
    out.print(_frameworks("Frameworks"))
    for sentence in facts.refused():
        out.print(sentence)
    sets = (datasets.find(name, root) for name in paper.SETTINGS)
    data = ((d.title, str(d.train or "none"), str(d.test or "none"), d.problem) for d in sets)
    out.print(_table(f"Data under {root}", ("data set", "train", "test", "problem"), data))


def _table(title: str, heads: Sequence[str], lines: Iterable[Sequence[str]], *notes: str) -> Table:
    """Return a table of lines under `heads`, with its notes below."""
    from harness.reports.table import Table

    return Table([dict(zip(heads, line, strict=True)) for line in lines], title, notes=notes)


def _frameworks(title: str = "") -> Table:
    """Return a table of all frameworks and variants in 80 columns.

    Notes below it tell how a variant differs, and how to get what is missing.
    """
    import adapters
    from adapters import facts
    from harness.reports.table import Table
    from harness.suites import SUITES

    facts.discover(adapters.names())
    opt_in, broken = SUITES["acceleration"].opt_in, facts.broken()
    lines, notes = list[dict[str, str]](), list[str]()

    def add(name: str, framework: Facts, form: str, deviations: Sequence[str]) -> None:
        """Add a contender's line to the table, and a note where it is another function."""
        is_plain = name == framework.framework
        release = re.search(r"\d[^ ,]*", framework.version or "") if is_plain else None
        neuron = NEURONS.get(framework.neuron_of(form), NOT_DECLARED)
        function = "another" if deviations else "the paper's"
        line = {
            "contender": name,
            "version": release[0] if release else "",
            "function": "missing" if framework.missing else function,
            "default": "yes" if is_plain and name not in (*opt_in, *broken) else "",
            "neuron": "" if framework.missing else neuron,
        }
        lines.append(line)
        if deviations and not framework.missing:
            notes.append(f"{name} is another function: {'; '.join(deviations)}.")

    for name in adapters.names():
        framework = facts.look_up(name)
        add(name, framework, "", framework.deviations)
        notes += [framework.missing] if framework.missing else []
        changed = (f"{change} at import" for change in framework.changed)
        notes += [f"{name}: {text}." for text in (*changed, *framework.undeclared)]
        for variant, deviations in framework.variants.items():
            add(Contender(name, variant=variant).name, framework, variant, deviations)
    short = (f"{word}: {source}" for source, word in NEURONS.items() if source != word)
    return Table(
        lines, title,
        notes=(
            f"Neuron, whose code it is: {'; '.join(short)}.",
            f"Name a version as norse@1.0.0 or norse@PATH ({', '.join(facts.versioned())}); "
            "harness versions has them.",
            f"Any also runs in another form: {', '.join(f'NAME:{form}' for form in FORMS)}.",
            *notes,
        ),
    )  # fmt: skip


def _suites() -> Table:
    """Return each suite and what it measures."""
    from harness import suites

    lines = ((name, suites.about(name)) for name in suites.SUITES)
    return _table("", ("suite", "what it measures"), lines)


def _networks() -> Table:
    """Return the paper's networks by name, with their notation."""
    head = "notation (OurModel, AlexNet, CIFARNet: Table 2; the others: Table 1)"
    # in 80 columns the longest notation leaves room for a name alone
    lines: list[tuple[str, str]] = []
    for static in (True, False):
        lines.append(("images:" if static else "events:", ""))
        lines += [(row.name, row.notation) for row in paper.NETWORKS if row.static == static]
    return _table("", ("network", head), lines)


def _datasets() -> Table:
    """Return the data sets by name, with their input and neuron."""
    lines = []
    for name, column in paper.SETTINGS.items():
        kind = "images" if column.static else "events"
        shape = "x".join(map(str, column.input_shape))
        lines.append((name, column.title, kind, shape, str(column.lif)))
    return _table("", ("data set", "title", "kind", "input", "neuron (Table 7)"), lines)


def _claims() -> Table:
    """Return each claim's id, its sentence and the rule that answers it."""
    from harness.analysis import claims

    heads = ("id", "claim of the paper", "what answers it")
    return _table("", heads, ((claim.id, claim.claim, claim.rule) for claim in claims.CLAIMS))


def _claim(name: str) -> Table:
    """Return all that a claim says before anything is run."""
    from harness.analysis import claims

    by_id = {claim.id: claim for claim in claims.CLAIMS}
    if name not in by_id:
        raise UsageError(f"unknown claim {name!r}, choose from {', '.join(by_id)}")
    claim = by_id[name]
    lines = [("published", claim.value), ("rule", claim.rule), ("in full", claim.test)]
    lines.append(("to run", claim.command))
    return _table("", (name, claim.claim), lines)


def _baselines() -> Table:
    """Return every baseline of Tables 3 to 6: on what it runs, whence its parameters come."""
    from harness import baselines

    def line(name: str) -> tuple[str, ...]:
        """Return a baseline's line; where it does not load, why."""
        try:
            baseline = baselines.load(name)
        except UsageError as error:  # it does not load here, or its description is incomplete
            return name, "", "", "", str(error)
        title, windows = f"{baseline.title} ({baseline.paper})", " ".join(baseline.windows)
        inputs = f"{baseline.input} {windows}".strip()
        return name, title, ", ".join(baseline.datasets), inputs, baseline.fidelity

    heads = ("baseline", "title", "data sets", "input", "fidelity")
    return _table("", heads, map(line, baselines.names()))


_LISTS = (_suites, _frameworks, _networks, _datasets, _claims, _baselines)
LISTS: dict[str, Callable[[], Table]] = {build.__name__[1:]: build for build in _LISTS}
