"""`harness list`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.console import out
from harness.spec import UsageError, contender

if TYPE_CHECKING:  # torch's import takes seconds
    from adapters.facts import Facts

Lines = list[dict[str, str]]  # a value for each column


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


def frameworks() -> Lines:
    """Every framework and variant, and how to get those that are missing."""
    import adapters
    from adapters import facts

    facts.look(adapters.names())
    return [line for name in adapters.names() for line in _forms(name, facts.of(name))]


def _forms(name: str, known: Facts) -> Iterator[dict[str, str]]:
    if known.missing:
        yield _form(name, "", known.missing)
        return
    said = [_function(known.deviations), *(f"{each} at import" for each in known.changed)]
    yield _form(name, known.version or "", "; ".join(said))
    for variant, deviations in known.variants.items():
        yield _form(contender(name, variant), "", _function(deviations))


def _form(name: str, version: str, said: str) -> dict[str, str]:
    return {"framework": name, "version": version, "what it computes": said}


def _function(deviations: Sequence[str]) -> str:
    return "a different model: " + "; ".join(deviations) if deviations else "the paper's function"


def _suites() -> Lines:
    from harness import suites

    return [{"suite": name, "what it measures": suites.about(name)} for name in suites.SUITES]


def _networks() -> Lines:
    from harness.spec import paper

    head = "notation (OurModel, AlexNet, CIFARNet: Table 2; the others: Table 1)"
    # in 80 columns the longest notation leaves room for a name alone
    lines = [{"network": "images:", head: ""}]
    lines += [{"network": row.name, head: row.notation} for row in paper.NETWORKS if row.static]
    lines += [{"network": "", head: ""}, {"network": "events:", head: ""}]
    lines += [{"network": row.name, head: row.notation} for row in paper.NETWORKS if not row.static]
    return lines


def _datasets() -> Lines:
    from harness.spec import paper

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
        line = dict.fromkeys(("baseline", "system", "data sets", "input", "fidelity"), "")
        line["baseline"] = name
        try:
            system = baselines.load(name)
            line["system"] = f"{system.title} ({system.paper})"
            line["data sets"] = ", ".join(system.datasets)
            line["input"] = " ".join((system.input, *system.windows))
            line["fidelity"] = system.fidelity
        except UsageError as error:  # it does not load here, or says too little
            line["fidelity"] = str(error)
        lines.append(line)
    return lines


LISTS: dict[str, Callable[[], Lines]] = {
    "suites": _suites,
    "frameworks": frameworks,
    "networks": _networks,
    "datasets": _datasets,
    "claims": _claims,
    "baselines": _baselines,
}
